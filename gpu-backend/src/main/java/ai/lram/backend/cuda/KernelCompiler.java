package ai.lram.backend.cuda;

import ai.lram.backend.KernelLaunchException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Compiles kernels for one device with the machine's own NVRTC to machine code (a CUBIN), never to PTX: a driver refuses PTX newer than
 * itself. What was compiled once is taken from the cache, by a hash of all that decides the result.
 */
final class KernelCompiler {
    private static final Logger LOG = LoggerFactory.getLogger(KernelCompiler.class);

    /** Changes what is cached when the way it is made changes. */
    private static final String RECIPE = "1";

    private final Nvrtc nvrtc;
    private final String architecture;
    private final Path toolkitHeaders;
    private final CubinCache cache;
    private final String version;
    private int compiled;
    private int cached;

    /**
     * @param architecture such as {@code sm_90a}
     * @param toolkitHeaders folder of {@code cuda_bf16.h}, null where there is none
     */
    KernelCompiler(Nvrtc nvrtc, String architecture, Path toolkitHeaders, CubinCache cache) {
        this.nvrtc = nvrtc;
        this.architecture = architecture;
        this.toolkitHeaders = toolkitHeaders;
        this.cache = cache;
        int[] v = new int[2];
        Status.checkNvrtc(nvrtc, nvrtc.version(v), "asking for NVRTC's version");
        version = v[0] + "." + v[1];
    }

    /** Sources compiled and taken from the cache so far, for people. */
    String summary() {
        return compiled + " compiled, " + cached + " from the cache";
    }

    /** Folder of the toolkit's headers: named by LRAM_CUDA_INCLUDE, or in the usual place. */
    static Path findToolkitHeaders(Machine machine) {
        List<String> folders = new ArrayList<>();
        folders.add(machine.environment("LRAM_CUDA_INCLUDE"));
        for (String home : new String[] {machine.environment("CUDA_HOME"), machine.environment("CUDA_PATH")}) {
            folders.add(home == null ? null : home + "/include");
        }
        folders.add("/usr/local/cuda/include");
        for (String folder : folders) {
            if (folder != null && !folder.isEmpty() && Files.isRegularFile(Path.of(folder, "cuda_bf16.h"))) {
                return Path.of(folder);
            }
        }
        return null;
    }

    boolean canCompile(KernelSource source) {
        return toolkitHeaders != null || !source.needsToolkit();
    }

    /** @param defines macros as NAME or NAME=VALUE */
    byte[] compile(KernelSource source, List<String> defines) {
        List<String> options = new ArrayList<>();
        options.add("--gpu-architecture=" + architecture);
        options.add("--std=c++17");
        options.add("--device-as-default-execution-space");
        for (String d : defines) {
            options.add("-D" + d);
        }
        String key = key(source, options);
        Optional<byte[]> known = cache.load(key);
        if (known.isPresent()) {
            cached++;
            return known.get();
        }
        if (source.needsToolkit()) {
            options.add("--include-path=" + toolkitHeaders);
        }
        long begin = System.nanoTime();
        byte[] cubin = compileNow(source, options);
        compiled++;
        LOG.debug(
                "compiled {} for {} in {} ms, {} bytes",
                source.name(),
                architecture,
                (System.nanoTime() - begin) / 1_000_000,
                cubin.length);
        cache.store(key, cubin);
        return cubin;
    }

    private String key(KernelSource source, List<String> options) {
        MessageDigest hash = sha256();
        part(hash, RECIPE);
        part(hash, "NVRTC " + version);
        options.forEach(o -> part(hash, o));
        part(hash, source.text());
        for (Map.Entry<String, String> h : source.headers().entrySet()) {
            part(hash, h.getKey());
            part(hash, h.getValue());
        }
        if (source.needsToolkit()) {
            for (String file : new String[] {"cuda_bf16.h", "cuda_bf16.hpp"}) {
                try {
                    part(hash, Files.readString(toolkitHeaders.resolve(file), StandardCharsets.ISO_8859_1));
                } catch (IOException e) {
                    throw new KernelLaunchException(
                            "reading " + file, e.toString(), "install the CUDA toolkit's headers", e);
                }
            }
        }
        return HexFormat.of().formatHex(hash.digest());
    }

    /** Lengths keep parts apart: "ab", "c" is not "a", "bc". */
    private static void part(MessageDigest hash, String text) {
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        hash.update(Integer.toString(bytes.length).getBytes(StandardCharsets.US_ASCII));
        hash.update((byte) 0);
        hash.update(bytes);
    }

    static MessageDigest sha256() {
        try {
            return MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("every Java runtime has SHA-256", e);
        }
    }

    private byte[] compileNow(KernelSource source, List<String> options) {
        String what = "compiling " + source.name() + ".cu for " + architecture;
        long[] program = new long[1];
        List<String> names = List.copyOf(source.headers().sequencedKeySet());
        List<String> headers = List.copyOf(source.headers().sequencedValues());
        Status.checkNvrtc(nvrtc, nvrtc.create(program, source.text(), source.name() + ".cu", headers, names), what);
        try {
            int status = nvrtc.compile(program[0], options);
            if (status == Nvrtc.BUILTIN_OPERATION_FAILURE) {
                throw new KernelLaunchException(
                        what,
                        "NVRTC does not find libnvrtc-builtins.so of its own version " + version,
                        "install the whole CUDA toolkit, or put the folder that holds both on LD_LIBRARY_PATH");
            }
            if (status != Nvrtc.SUCCESS) {
                throw new KernelLaunchException(
                        what,
                        "NVRTC " + version + " answered " + nvrtc.statusName(status) + " with this log:\n"
                                + log(program[0]),
                        "report it with the log; device=cpu works meanwhile");
            }
            long[] size = new long[1];
            Status.checkNvrtc(nvrtc, nvrtc.cubinSize(size, program[0]), what);
            byte[] cubin = new byte[Math.toIntExact(size[0])];
            Status.checkNvrtc(nvrtc, nvrtc.cubin(cubin, program[0]), what);
            return cubin;
        } finally {
            nvrtc.destroy(program[0]);
        }
    }

    private String log(long program) {
        long[] size = new long[1];
        Status.checkNvrtc(nvrtc, nvrtc.logSize(size, program), "asking for the compiler's log");
        byte[] log = new byte[Math.toIntExact(size[0])];
        Status.checkNvrtc(nvrtc, nvrtc.log(log, program), "reading the compiler's log");
        return Device.text(log);
    }
}
