package ai.lram.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import ai.lram.backend.Backend;
import ai.lram.backend.BackendException;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
import ai.lram.backend.DType;
import ai.lram.backend.Replay;
import ai.lram.backend.Tensor;
import ai.lram.backend.TensorArena;
import ai.lram.backend.contract.Fixture;
import ai.lram.backend.ops.Activation;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.bytedeco.javacpp.Loader;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * The Java bindings themselves, over libraries of our own that stand in for NVIDIA's: discovery, loading, and every entry point with its
 * arguments. In a process of its own, since a library is loaded once.
 */
class BindingsTest {
    private static final Path STUB = Path.of("src", "test", "cuda", "stub", "stub.cpp");
    private static final Path EMULATOR = Path.of("src", "test", "cuda", "emulator", "emulator.h");

    @TempDir
    Path dir;

    private void run(String... command) throws IOException, InterruptedException {
        Path log = dir.resolve("compiler.log");
        Process p = new ProcessBuilder(command)
                .redirectErrorStream(true)
                .redirectOutput(log.toFile())
                .start();
        assertTrue(p.waitFor(2, TimeUnit.MINUTES), "still running: " + String.join(" ", command));
        assertEquals(0, p.exitValue(), Files.readString(log));
    }

    private void buildLibraries(String compiler, List<Library> libraries) throws IOException, InterruptedException {
        run(
                compiler,
                "-std=c++17",
                "-O1",
                "-fPIC",
                "-shared",
                "-Wl,-soname,libcuda.so.1",
                "-o",
                dir.resolve("libcuda.so.1").toString(),
                STUB.toString(),
                "-ldl");
        Path empty = Files.writeString(dir.resolve("empty.cpp"), "");
        for (Library l : libraries) {
            run(
                    compiler,
                    "-shared",
                    "-fPIC",
                    "-Wl,-soname," + l.file(),
                    "-Wl,--no-as-needed",
                    "-o",
                    dir.resolve(l.file()).toString(),
                    empty.toString(),
                    dir.resolve("libcuda.so.1").toString());
        }
    }

    private String program(Class<?> main) throws IOException, InterruptedException {
        Path log = dir.resolve("program.log");
        ProcessBuilder b = new ProcessBuilder(
                        Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                        "--add-modules=jdk.incubator.vector",
                        "--enable-native-access=ALL-UNNAMED",
                        "-Dlram.cuda.cache=off",
                        "-Dlram.cuda.mlstm=general",
                        "-cp",
                        System.getProperty("java.class.path"),
                        main.getName())
                .redirectErrorStream(true)
                .redirectOutput(log.toFile());
        b.environment().put("LD_LIBRARY_PATH", dir.toString());
        b.environment().put("LRAM_COMPILER", Emulator.compiler().orElseThrow().toString());
        b.environment().put("LRAM_EMULATOR", EMULATOR.toAbsolutePath().toString());
        b.environment().remove("LRAM_CUDA_INCLUDE");
        Process p = b.start();
        assertTrue(p.waitFor(3, TimeUnit.MINUTES), "still running");
        String output = Files.readString(log);
        assertEquals(0, p.exitValue(), output);
        return output;
    }

    private void requireNatives() {
        Emulator.requireCompiler();
        assumeTrue(
                BindingsTest.class.getResource("/org/bytedeco/cuda/" + Loader.getPlatform() + "/libjnicudart.so")
                        != null,
                "skipped: the bindings hold no natives for this platform");
        assumeTrue(
                !new LinuxMachine().open(Library.DRIVER.file()).isOpen(),
                "skipped: this machine has a real driver; the tests with the tag cuda call it");
    }

    @Test
    void everyEntryPointGetsWhatItsDocumentationSays() throws Exception {
        requireNatives();
        buildLibraries(
                Emulator.compiler().orElseThrow().toString(),
                Arrays.stream(Library.values()).filter(l -> l != Library.DRIVER).toList());
        String output = program(Program.class);
        for (String part : new String[] {
            "engine: cuda:0, Stub GPU, compute capability 9.0, 132 multiprocessors, 8.0 GiB, driver for CUDA 13.0",
            "product: 0.0 of the largest",
            "replays: 3 alike",
            "copy: true",
            "attention: true",
            "fault: ShapeMismatchException: embedding: id 7 at row 1",
            "memory: DeviceOutOfMemoryException",
            "compiler: KernelLaunchException with the log: true",
            "lost: DeviceLostException, then DeviceLostException",
            "elapsed: 1.5",
            "end"
        }) {
            assertTrue(output.contains(part), part + " in " + output);
        }
    }

    @Test
    void aToolkitWithoutNvrtcIsRefusedBeforeTheBindingsLoad() throws Exception {
        requireNatives();
        buildLibraries(
                Emulator.compiler().orElseThrow().toString(),
                List.of(Library.RUNTIME, Library.CUBLAS, Library.CUBLAS_LT));
        String output = program(Refused.class);
        assertTrue(output.contains("auto: cpu"), output);
        assertTrue(output.contains("cuda: no engine for device=cuda; why: cuda: libnvrtc.so.13 is missing"), output);
    }

    static final class Refused {
        public static void main(String[] args) {
            try (Backend b = Backends.open("auto", BackendOptions.threads(1))) {
                System.out.println("auto: " + b.name());
            }
            try {
                Backends.open("cuda", BackendOptions.defaults()).close();
            } catch (BackendException e) {
                System.out.println("cuda: " + e.getMessage());
            }
        }
    }

    static final class Program {
        private static void say(String what) {
            System.out.println(what);
        }

        private static String failure(Runnable work) {
            try {
                work.run();
                return "none";
            } catch (BackendException e) {
                return e.getClass().getSimpleName() + ": " + e.getMessage();
            }
        }

        public static void main(String[] args) {
            try (Backend engine = Backends.open("auto", BackendOptions.defaults());
                    Fixture fx = new Fixture(engine)) {
                say("engine: " + engine.name() + ", " + engine.describe());
                products(engine, fx);
                attention(engine, fx);
                Tensor table = fx.of(fx.normal(12, 1), 3, 4);
                Tensor bad = fx.ofInts(new int[] {1, 7}, 2);
                engine.ops().embedding().lookup(fx.stream, bad, table, fx.poisoned(2, 4));
                say("fault: " + failure(fx.stream::synchronize));
                try (TensorArena arena = engine.arena("huge")) {
                    say("memory: " + failure(() -> arena.f32(1 << 20, 1 << 20)));
                }
            }
            compilerLog();
            events();
            broken();
            say("end");
        }

        private static void products(Backend engine, Fixture fx) {
            float[] a = fx.normal(40 * 8, 1);
            float[] b = fx.normal(6 * 8, 1);
            float[] c = fx.normal(6, 1);
            Tensor x = fx.of(a, 40, 8);
            Tensor w = fx.of(b, 6, 8);
            Tensor bias = fx.of(c, 6);
            Tensor y = fx.poisoned(40, 6);
            Runnable work = () -> engine.ops().matmul().linear(fx.stream, x, w, bias, Activation.RELU, y);
            work.run();
            float[] got = fx.read(y);
            double worst = 0;
            for (int m = 0; m < 40; m++) {
                for (int n = 0; n < 6; n++) {
                    double want = c[n];
                    for (int k = 0; k < 8; k++) {
                        want += (double) a[m * 8 + k] * b[n * 8 + k];
                    }
                    worst = Math.max(worst, Math.abs(Math.max(want, 0) - got[m * 6 + n]));
                }
            }
            say("product: " + (worst < 1e-6 ? 0.0 : worst) + " of the largest");
            int alike = 0;
            try (Replay replay = fx.stream.record(work)) {
                for (int i = 0; i < 3; i++) {
                    engine.ops().elementwise().fill(fx.stream, Float.NaN, y);
                    replay.finish();
                    alike += Arrays.equals(got, fx.read(y)) ? 1 : 0;
                }
            }
            say("replays: " + alike + " alike");
            Tensor copy = fx.poisoned(40, 6);
            engine.copy(fx.stream, copy, y);
            say("copy: " + Arrays.equals(got, fx.read(copy)));
        }

        /** Its kernel may begin early. A token that is alone sees itself. */
        private static void attention(Backend engine, Fixture fx) {
            float[] a = fx.normal(8, 1);
            Tensor token = fx.of(a, 1, 1, 1, 8);
            Tensor keys = fx.poisoned(1, 5, 1, 8);
            Tensor values = fx.poisoned(1, 5, 1, 8);
            Tensor y = fx.poisoned(1, 1, 1, 8);
            Tensor slots = fx.ofInts(new int[1], 1);
            Tensor counts = fx.ofInts(new int[] {1}, 1);
            Tensor length = fx.ofInts(new int[1], 1);
            engine.ops().attention().cachedStep(fx.stream, slots, counts, token, token, token, keys, values, length, y);
            say("attention: " + Arrays.equals(a, fx.read(y)));
        }

        private static void compilerLog() {
            Nvrtc nvrtc = new JavaCppNvrtc();
            KernelCompiler compiler = new KernelCompiler(nvrtc, "sm_90a", null, new CubinCache(null, 0));
            KernelSource wrong = new KernelSource(
                    "wrong", "this is no source", KernelSource.load("norm").headers());
            String failure = failure(() -> compiler.compile(wrong, List.of()));
            say("compiler: " + failure.substring(0, failure.indexOf(':')) + " with the log: "
                    + failure.contains("wrong.cu:1"));
        }

        private static void events() {
            Driver driver = new JavaCppDriver();
            long[] first = new long[1];
            long[] second = new long[1];
            float[] ms = new float[1];
            int status = driver.createEvent(first, 0) + driver.createEvent(second, 0);
            status += driver.elapsed(ms, first[0], second[0]);
            status += driver.destroyEvent(first[0]) + driver.destroyEvent(second[0]);
            say("elapsed: " + ms[0] + (status == 0 ? "" : " with status " + status));
        }

        private static void broken() {
            List<String> seen = new ArrayList<>();
            try (Backend engine = new CudaBackendProvider().open(BackendOptions.defaults())) {
                Tensor nowhere = Tensor.device(DType.F32, 0x10_0000, () -> true, 16);
                seen.add(failure(() -> {
                    engine.ops().elementwise().fill(engine.stream(), 1, nowhere);
                    engine.stream().synchronize();
                }));
                seen.add(failure(() -> engine.arena("after").f32(1)));
            }
            say("lost: " + seen.get(0).split(":")[0] + ", then " + seen.get(1).split(":")[0]);
        }
    }
}
