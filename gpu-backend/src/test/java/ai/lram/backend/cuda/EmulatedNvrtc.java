package ai.lram.backend.cuda;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;

/** Compiles CUDA sources for the host with g++: the image of a module is a shared library. */
final class EmulatedNvrtc extends ScriptedNvrtc {
    private static final Path HEADER =
            Emulator.module().resolve(Path.of("src", "test", "cuda", "emulator", "emulator.h"));
    private static final long PATIENCE_MINUTES = 5;

    /** A kernel is compiled for each set of sizes and runs for a moment: most time goes where g++ takes long. */
    private static final List<String> FLAGS = List.of(
            "-std=c++17",
            "-nostdinc++", // C's headers alone
            "-O1",
            "-fexpensive-optimizations", // products and sums are contracted as they are by -O2
            "-march=native",
            "-ffp-contract=fast", // as the CUDA compilers do
            "-Wall",
            "-Wno-unknown-pragmas",
            "-Werror",
            "-fPIC",
            "-shared",
            "-fvisibility=hidden");

    private final Path compiler;
    private final Map<Program, byte[]> images = new HashMap<>();

    EmulatedNvrtc(Path compiler) {
        this.compiler = compiler;
        try {
            // The cache's key holds the version: another emulator is another compiler.
            minor = (31 * Arrays.hashCode(Files.readAllBytes(HEADER)) + FLAGS.hashCode()) & 0xffffff;
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    @Override
    public int compile(long program, List<String> options) {
        super.compile(program, options);
        try {
            return compile(live.get(program));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private int compile(Program p) throws IOException {
        Path folder = Files.createTempDirectory("lram-emulator");
        try {
            Files.writeString(folder.resolve(p.name()), p.source());
            for (int i = 0; i < p.headers().size(); i++) {
                Files.writeString(
                        folder.resolve(p.headerNames().get(i)), p.headers().get(i));
            }
            Path image = folder.resolve("image.so");
            List<String> command = new ArrayList<>();
            command.add(compiler.toString());
            command.addAll(FLAGS);
            p.options().stream().filter(o -> o.startsWith("-D")).forEach(command::add);
            command.addAll(List.of(
                    "-include",
                    HEADER.toAbsolutePath().toString(),
                    "-x",
                    "c++",
                    folder.resolve(p.name()).toString(),
                    "-o",
                    image.toString()));
            Path output = folder.resolve("log");
            Process process = new ProcessBuilder(command)
                    .redirectErrorStream(true)
                    .redirectOutput(output.toFile())
                    .start();
            try {
                if (!process.waitFor(PATIENCE_MINUTES, TimeUnit.MINUTES)) {
                    throw new IOException("g++ is still running: " + command);
                }
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                throw new IOException("interrupted", e);
            } finally {
                process.destroyForcibly();
            }
            log = Files.readString(output, StandardCharsets.UTF_8);
            if (process.exitValue() != 0) {
                return COMPILATION;
            }
            images.put(p, Files.readAllBytes(image));
            return SUCCESS;
        } finally {
            try (Stream<Path> files = Files.walk(folder)) {
                for (Path f : files.sorted(Comparator.reverseOrder()).toList()) {
                    Files.delete(f);
                }
            }
        }
    }

    @Override
    byte[] image(Program program) {
        return images.get(program);
    }
}
