package ai.lram.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Every CUDA source builds for Hopper and for the oldest supported device with nvcc alone; no GPU is needed. */
class CudaSourcesCompileTest {
    private static final Path SOURCES = Path.of("src", "main", "cuda");
    private static final List<String> DEVICES = List.of("90a", "80");
    private static final long PATIENCE_MINUTES = 10; // seconds on an idle machine

    @TempDir
    Path work;

    static List<Path> sources() throws IOException {
        try (Stream<Path> files = Files.list(SOURCES)) {
            return files.filter(f -> f.toString().endsWith(".cu")).sorted().toList();
        }
    }

    @Test
    void thereAreSourcesToCompile() throws IOException {
        assertFalse(sources().isEmpty(), "no .cu file in " + SOURCES.toAbsolutePath());
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource("sources")
    void compilesForHopperAndForAmpere(Path source) throws IOException, InterruptedException {
        Optional<Path> nvcc = findNvcc();
        assumeTrue(
                nvcc.isPresent(),
                "skipped: no nvcc on the PATH and no /usr/local/cuda/bin/nvcc; install the CUDA toolkit to run this test");
        Path log = work.resolve("nvcc.log");
        Path output = work.resolve("kernels.fatbin");
        Stream<String> fixed = Stream.of(
                nvcc.get().toString(),
                "-std=c++17",
                "-fatbin",
                "--threads",
                "2",
                "-Werror",
                "all-warnings",
                "-o",
                output.toString());
        Stream<String> devices = DEVICES.stream().map(d -> "-gencode=arch=compute_" + d + ",code=sm_" + d);
        List<String> command = Stream.of(fixed, devices, Stream.of(source.toString()))
                .flatMap(s -> s)
                .toList();
        Process process = new ProcessBuilder(command)
                .redirectErrorStream(true)
                .redirectOutput(log.toFile())
                .start();
        try {
            assertTrue(process.waitFor(PATIENCE_MINUTES, TimeUnit.MINUTES), "nvcc is still running: " + command);
        } finally {
            process.descendants().forEach(ProcessHandle::destroyForcibly);
            process.destroyForcibly();
        }
        assertEquals(0, process.exitValue(), () -> String.join(" ", command) + System.lineSeparator() + read(log));
        assertTrue(Files.size(output) > 0, "nvcc wrote an empty " + output);
    }

    private static String read(Path log) {
        try {
            return Files.readString(log);
        } catch (IOException e) {
            return "its output could not be read: " + e;
        }
    }

    private static Optional<Path> findNvcc() {
        String path = System.getenv("PATH");
        Stream<String> folders = path == null ? Stream.empty() : Stream.of(path.split(File.pathSeparator));
        return Stream.concat(folders, Stream.of("/usr/local/cuda/bin"))
                .filter(f -> !f.isEmpty())
                .map(f -> Path.of(f, "nvcc"))
                .filter(Files::isExecutable)
                .findFirst();
    }
}
