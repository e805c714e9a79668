package ai.lram.backend.cuda;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/** This machine, through the C library's {@code dlopen}: its answer says why a library cannot be opened. */
@SuppressWarnings("restricted")
final class LinuxMachine implements Machine {
    /** Folders to search beside the system's own, separated by colons. */
    static final String LIBRARY_PATH = "lram.cuda.library.path";

    private static final int RTLD_NOW_GLOBAL = 0x102;

    private static final List<String> FOLDERS = List.of(
            "/usr/local/cuda/lib64",
            "/usr/local/cuda/targets/x86_64-linux/lib",
            "/usr/local/nvidia/lib64",
            "/usr/local/nvidia/lib",
            "/usr/lib/x86_64-linux-gnu",
            "/usr/lib64",
            "/usr/lib/wsl/lib");

    private static final Pattern MODULE = Pattern.compile("\\s(\\d+\\.\\d+(?:\\.\\d+)?)\\s");

    private final MethodHandle dlopen;
    private final MethodHandle dlsym;
    private final MethodHandle dlerror;

    LinuxMachine() {
        Linker linker = Linker.nativeLinker();
        SymbolLookup c = linker.defaultLookup();
        dlopen = linker.downcallHandle(
                c.findOrThrow("dlopen"),
                FunctionDescriptor.of(ValueLayout.JAVA_LONG, ValueLayout.ADDRESS, ValueLayout.JAVA_INT));
        dlsym = linker.downcallHandle(
                c.findOrThrow("dlsym"),
                FunctionDescriptor.of(ValueLayout.JAVA_LONG, ValueLayout.JAVA_LONG, ValueLayout.ADDRESS));
        dlerror = linker.downcallHandle(c.findOrThrow("dlerror"), FunctionDescriptor.of(ValueLayout.ADDRESS));
    }

    @Override
    public Opened open(String file) {
        Opened first = dlopen(file);
        if (first.isOpen()) {
            return first;
        }
        for (String folder : folders()) {
            Path candidate = Path.of(folder, file);
            if (Files.isRegularFile(candidate)) {
                Opened o = dlopen(candidate.toString());
                if (o.isOpen()) {
                    return o;
                }
                first = o; // a file that is there and does not open says more than one that is not
            }
        }
        return first;
    }

    private Set<String> folders() {
        Set<String> all = new LinkedHashSet<>();
        String own = System.getProperty(LIBRARY_PATH);
        if (own != null) {
            all.addAll(List.of(own.split(":")));
        }
        for (String home : new String[] {environment("CUDA_HOME"), environment("CUDA_PATH")}) {
            if (home != null) {
                all.add(home + "/lib64");
                all.add(home + "/lib");
            }
        }
        all.addAll(FOLDERS);
        return all;
    }

    private Opened dlopen(String file) {
        try (Arena arena = Arena.ofConfined()) {
            long handle = (long) dlopen.invokeExact(arena.allocateFrom(file), RTLD_NOW_GLOBAL);
            if (handle != 0) {
                return new Opened(handle, "");
            }
            MemorySegment text = (MemorySegment) dlerror.invokeExact();
            return new Opened(
                    0,
                    text.equals(MemorySegment.NULL)
                            ? file + " cannot be opened"
                            : text.reinterpret(4096).getString(0));
        } catch (Throwable e) {
            throw new IllegalStateException("dlopen of " + file, e);
        }
    }

    @Override
    public boolean has(Opened library, String symbol) {
        try (Arena arena = Arena.ofConfined()) {
            return (long) dlsym.invokeExact(library.handle(), arena.allocateFrom(symbol)) != 0;
        } catch (Throwable e) {
            throw new IllegalStateException("dlsym of " + symbol, e);
        }
    }

    @Override
    public Optional<String> pathOf(String file) {
        String stem = "/" + file;
        try (Stream<String> maps = Files.lines(Path.of("/proc/self/maps"))) {
            return maps.filter(l -> l.contains(stem))
                    .map(l -> l.substring(l.indexOf('/')))
                    .findFirst();
        } catch (IOException e) {
            return Optional.empty();
        }
    }

    @Override
    public String environment(String name) {
        return System.getenv(name);
    }

    @Override
    public List<Node> nodes() {
        List<Node> all = new ArrayList<>();
        try (Stream<Path> dev = Files.list(Path.of("/dev"))) {
            dev.filter(p -> p.getFileName().toString().matches("nvidia(ctl|-uvm|\\d+)"))
                    .sorted()
                    .forEach(p -> all.add(new Node(p.toString(), Files.isReadable(p), Files.isWritable(p))));
        } catch (IOException e) {
            throw new UncheckedIOException("listing /dev", e);
        }
        return all;
    }

    @Override
    public Optional<String> kernelModule() {
        Path version = Path.of("/proc/driver/nvidia/version");
        if (!Files.isReadable(version)) {
            return Optional.empty();
        }
        try {
            Matcher m = MODULE.matcher(Files.readString(version));
            return m.find() ? Optional.of(m.group(1)) : Optional.empty();
        } catch (IOException e) {
            return Optional.empty();
        }
    }
}
