package ai.lram.backend.cuda;

import static org.junit.jupiter.api.Assumptions.assumeTrue;

import ai.lram.backend.ops.StepForm;
import java.io.File;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import java.util.stream.Stream;

/** A CUDA engine without a GPU: the real one over a driver that runs kernels on the host. */
final class Emulator {
    /** Compiled kernels outlive a test run, as they do for users. */
    private static final Path CACHE = module().resolve(Path.of("target", "emulated-kernels"));

    private Emulator() {}

    /** The folder of this module, from it or from one beside it. */
    static Path module() {
        Path here = Path.of("");
        return Files.exists(here.resolve("src/test/cuda/emulator")) ? here : Path.of("..", "gpu-backend");
    }

    static Optional<Path> compiler() {
        String path = System.getenv("PATH");
        return path == null
                ? Optional.empty()
                : Stream.of(path.split(File.pathSeparator))
                        .filter(f -> !f.isEmpty())
                        .map(f -> Path.of(f, "g++"))
                        .filter(Files::isExecutable)
                        .findFirst();
    }

    /** Skips, saying so, where kernels cannot be run on the host. */
    static void requireCompiler() {
        assumeTrue(
                System.getProperty("os.arch").equals("amd64")
                        && System.getProperty("os.name").startsWith("Linux"),
                "skipped: the emulator of CUDA kernels switches stacks on x86-64 Linux only");
        assumeTrue(compiler().isPresent(), "skipped: no g++ on the PATH to compile CUDA kernels for the host");
    }

    static CudaBackend open() {
        return open(new EmulatedDriver());
    }

    static CudaBackend open(EmulatedDriver driver) {
        return open(driver, Optional.empty());
    }

    static CudaBackend open(EmulatedDriver driver, Optional<StepForm> stepForm) {
        return new CudaBackend(
                driver,
                new EmulatedNvrtc(compiler().orElseThrow()),
                new EmulatedCublasLt(driver),
                Device.read(driver, 0),
                null,
                new CubinCache(CACHE, 64L << 20),
                stepForm);
    }
}
