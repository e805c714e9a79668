package ai.lram.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.io.InputStream;
import java.lang.classfile.ClassFile;
import java.lang.classfile.ClassModel;
import java.lang.classfile.constantpool.MemberRefEntry;
import java.lang.classfile.constantpool.PoolEntry;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.bytedeco.javacpp.Loader;
import org.junit.jupiter.api.Test;

/**
 * The missing-function trap: the bindings are newer than CUDA 13.0, and calling what its libraries lack ends the process. So the engine
 * calls what {@link EntryPoint} lists and nothing else, and everything listed is in CUDA 13.0.
 */
class EntryPointTest {
    private static final String BINDINGS = "org/bytedeco/cuda/";
    private static final Path HEADERS = Path.of("/usr/local/cuda/include");

    @Test
    void theEngineCallsWhatIsListedAndNothingElse() throws Exception {
        Path classes = Path.of(Driver.class
                        .getProtectionDomain()
                        .getCodeSource()
                        .getLocation()
                        .toURI())
                .resolve("ai/lram/backend");
        Set<String> called = new TreeSet<>();
        Set<String> owners = new TreeSet<>();
        try (Stream<Path> files = Files.walk(classes)) {
            for (Path file : files.filter(f -> f.toString().endsWith(".class")).toList()) {
                for (MemberRefEntry ref : nativeCalls(ClassFile.of().parse(file))) {
                    called.add(ref.name().stringValue());
                    owners.add(ref.owner().asInternalName());
                }
            }
        }
        assertEquals(
                Arrays.stream(EntryPoint.values())
                        .map(EntryPoint::function)
                        .collect(Collectors.toCollection(TreeSet::new)),
                called);
        assertEquals(Set.of(BINDINGS + "global/cudart", BINDINGS + "global/nvrtc", BINDINGS + "global/cublas"), owners);
    }

    /** Methods of the bindings that are not constructors: all of {@code global}, and any native accessor of a structure. */
    private static List<MemberRefEntry> nativeCalls(ClassModel model) {
        Set<MemberRefEntry> refs = new HashSet<>();
        for (PoolEntry e : model.constantPool()) {
            if (e instanceof MemberRefEntry ref
                    && ref.owner().asInternalName().startsWith(BINDINGS)
                    && ref.type().stringValue().startsWith("(")
                    && !ref.name().equalsString("<init>")) {
                refs.add(ref);
            }
        }
        return List.copyOf(refs);
    }

    /** The bindings' own library asks the loader for exactly the symbol that we look up before the first call. */
    @Test
    void theSymbolsAreThoseTheBindingsAskFor() throws IOException {
        Map<Library, String> jni =
                Map.of(Library.DRIVER, "jnicudart", Library.NVRTC, "jninvrtc", Library.CUBLAS_LT, "jnicublas");
        for (Map.Entry<Library, String> e : jni.entrySet()) {
            String resource = "/" + BINDINGS + Loader.getPlatform() + "/lib" + e.getValue() + ".so";
            Set<String> asked;
            try (InputStream in = EntryPointTest.class.getResourceAsStream(resource)) {
                assumeTrue(in != null, "skipped: the bindings hold no natives for this platform: " + resource);
                asked = undefinedSymbols(in.readAllBytes());
            }
            for (EntryPoint p : EntryPoint.values()) {
                if (p.library() == e.getKey()) {
                    assertTrue(asked.contains(p.symbol()), p.symbol() + " is not what " + resource + " asks for");
                }
            }
        }
    }

    @Test
    void theSymbolsOfTheDriverAreThoseOfCuda130() throws IOException {
        Path header = HEADERS.resolve("cuda.h");
        assumeTrue(Files.isRegularFile(header), "skipped: no CUDA headers in " + HEADERS + "; install the toolkit");
        String text = Files.readString(header);
        Matcher version = Pattern.compile("#define CUDA_VERSION (\\d+)").matcher(text);
        assertTrue(version.find(), "no version in " + header);
        assumeTrue(version.group(1).equals("13000"), "skipped: " + header + " is version " + version.group(1));
        Map<String, String> newest = new HashMap<>();
        Matcher defines = Pattern.compile("#define (cu\\w+)\\s+(?:__CUDA_API_PT[SD]S?Z\\()?(cu\\w+)\\)?")
                .matcher(text);
        while (defines.find()) {
            newest.putIfAbsent(defines.group(1), defines.group(2));
        }
        for (EntryPoint p : EntryPoint.values()) {
            if (p.library() == Library.DRIVER) {
                assertTrue(
                        Pattern.compile("CUresult CUDAAPI " + p.function() + "\\(")
                                .matcher(text)
                                .find(),
                        p.function() + " is not declared in " + header);
                assertEquals(p.symbol(), newest.getOrDefault(p.function(), p.function()), "in " + header);
            }
        }
    }

    /** These two are not installed with the compiler: where they are, they are held to the list, too. */
    @Test
    void theSymbolsOfTheOtherLibrariesAreDeclared() throws IOException {
        for (Map.Entry<Library, String> e : Map.of(Library.NVRTC, "nvrtc.h", Library.CUBLAS_LT, "cublasLt.h")
                .entrySet()) {
            Path header = HEADERS.resolve(e.getValue());
            assumeTrue(Files.isRegularFile(header), "skipped: " + header + " is not installed");
            String text = Files.readString(header);
            for (EntryPoint p : EntryPoint.values()) {
                if (p.library() == e.getKey()) {
                    assertTrue(text.contains(p.symbol() + "("), p.symbol() + " is not declared in " + header);
                }
            }
        }
    }

    @Test
    void theElfReaderSeesWhatIsMissing() throws IOException {
        String resource = "/" + BINDINGS + Loader.getPlatform() + "/libjnicudart.so";
        try (InputStream in = EntryPointTest.class.getResourceAsStream(resource)) {
            assumeTrue(in != null, "skipped: the bindings hold no natives for this platform: " + resource);
            Set<String> asked = undefinedSymbols(in.readAllBytes());
            assertTrue(asked.contains("cudaGetDeviceCount"));
            assertFalse(asked.contains("JNI_OnLoad"), "a symbol the library defines itself");
        }
    }

    /** Names of the undefined entries of a 64-bit little-endian ELF file's dynamic symbol table. */
    private static Set<String> undefinedSymbols(byte[] file) {
        ByteBuffer elf = ByteBuffer.wrap(file).order(ByteOrder.LITTLE_ENDIAN);
        assertEquals(0x464c457f, elf.getInt(0), "an ELF file");
        int table = (int) elf.getLong(40);
        int entry = elf.getShort(58);
        int sections = elf.getShort(60);
        Set<String> names = new HashSet<>();
        for (int s = 0; s < sections; s++) {
            int at = table + s * entry;
            if (elf.getInt(at + 4) == 11) { // SHT_DYNSYM
                int symbols = (int) elf.getLong(at + 24);
                int bytes = (int) elf.getLong(at + 32);
                int strings = (int) elf.getLong(table + elf.getInt(at + 40) * entry + 24);
                for (int i = symbols; i < symbols + bytes; i += 24) {
                    if (elf.getShort(i + 6) == 0) {
                        names.add(text(file, strings + elf.getInt(i)));
                    }
                }
            }
        }
        return names;
    }

    private static String text(byte[] file, int from) {
        int to = from;
        while (file[to] != 0) {
            to++;
        }
        return new String(file, from, to - from, StandardCharsets.US_ASCII);
    }
}
