package ai.lram.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.backend.Backend;
import ai.lram.backend.BackendException;
import ai.lram.backend.BackendException.Severity;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
import ai.lram.backend.DType;
import ai.lram.backend.DeviceOutOfMemoryException;
import ai.lram.backend.NonFiniteException;
import ai.lram.backend.Replay;
import ai.lram.backend.ShapeMismatchException;
import ai.lram.backend.Tensor;
import ai.lram.backend.TensorArena;
import ai.lram.backend.contract.Fixture;
import ai.lram.backend.ops.Activation;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The engine on a real device, beyond what its kernels compute. */
@Tag("cuda")
class CudaBackendTest {
    private static Backend open() {
        return new CudaBackendProvider().open(BackendOptions.defaults());
    }

    @Test
    void discoveryFindsTheDeviceAndAutoTakesIt() {
        Diagnosis d = CudaBackendProvider.diagnosis();
        assertTrue(d.usable(), d.sentence() + " " + d.facts());
        try (Backend b = Backends.open("auto", BackendOptions.defaults())) {
            assertEquals("cuda:0", b.name());
            assertTrue(b.describe().contains(d.device().name()), b.describe());
        }
    }

    @Test
    void enginesOpenAfterAndBesideEachOther() {
        for (int i = 0; i < 2; i++) {
            try (Backend a = open();
                    Backend b = open();
                    Fixture fa = new Fixture(a);
                    Fixture fb = new Fixture(b)) {
                Tensor x = fa.of(new float[] {1, 2}, 2);
                Tensor y = fb.of(new float[] {3, 4}, 2);
                a.ops().elementwise().scale(a.stream(), 2, x, x);
                b.ops().elementwise().scale(b.stream(), 2, y, y);
                assertArrayEquals(new float[] {2, 4}, fa.read(x));
                assertArrayEquals(new float[] {6, 8}, fb.read(y));
            }
        }
    }

    @Test
    void aRecordingIsOneGraph() {
        try (Backend engine = open();
                Fixture fx = new Fixture(engine)) {
            Tensor x = fx.of(fx.normal(300 * 64, 1), 300, 64);
            Tensor w = fx.of(fx.normal(64 * 64, 0.1), 64, 64);
            Tensor bias = fx.of(fx.normal(64, 1), 64);
            Tensor y = fx.poisoned(300, 64);
            Runnable work = () -> {
                engine.ops().matmul().linear(fx.stream, x, w, bias, Activation.SILU, y);
                engine.ops().elementwise().axpy(fx.stream, 0.5f, y, y);
            };
            work.run();
            float[] want = fx.read(y);
            try (Replay replay = fx.stream.record(work)) {
                for (int i = 0; i < 3; i++) {
                    engine.ops().elementwise().fill(fx.stream, Float.NaN, y);
                    replay.run();
                    assertArrayEquals(want, fx.read(y), "replay " + i);
                }
            }
        }
    }

    @Test
    void moreMemoryThanThereIsIsTheTypedErrorAndTheEngineGoesOn() {
        try (Backend engine = open();
                TensorArena arena = engine.arena("huge")) {
            DeviceOutOfMemoryException e =
                    assertThrows(DeviceOutOfMemoryException.class, () -> arena.f32(1 << 20, 1 << 20)); // 4 TiB
            assertEquals(Severity.DEGRADE, e.severity());
            assertTrue(e.getMessage().contains("arena huge"), e.getMessage());
            assertEquals(0, arena.liveBytes());
            arena.f32(1000);
        }
    }

    @Test
    void memoryIsClearedAndGivenBack() {
        try (Backend engine = open();
                Fixture fx = new Fixture(engine)) {
            for (int i = 0; i < 200; i++) {
                try (TensorArena arena = engine.arena("round " + i)) {
                    Tensor t = arena.f32(256 << 20 >> 2); // 256 MiB; 50 GiB in all
                    assertEquals(0, fx.read(t.view(i, 1))[0]);
                    engine.ops().elementwise().fill(fx.stream, 7, t);
                }
            }
        }
    }

    @Test
    void theFirstNanIsNamed() {
        try (Backend engine = open();
                Fixture fx = new Fixture(engine)) {
            float[] a = fx.normal(3_000_000, 1);
            engine.requireFinite(fx.stream, "fine", fx.of(a, a.length));
            a[2_345_678] = Float.NaN;
            a[1_234_567] = Float.NEGATIVE_INFINITY;
            Tensor t = fx.of(a, a.length);
            NonFiniteException e =
                    assertThrows(NonFiniteException.class, () -> engine.requireFinite(fx.stream, "gradients", t));
            assertTrue(e.getMessage().contains("element 1234567"), e.getMessage());
        }
    }

    @Test
    void aFaultThatOnlyTheDeviceSeesIsReportedAtTheNextSynchronisation() {
        try (Backend engine = open();
                Fixture fx = new Fixture(engine)) {
            Tensor table = fx.of(fx.normal(12, 1), 3, 4);
            Tensor y = fx.poisoned(2, 4);
            Tensor bad = fx.ofInts(new int[] {1, 9}, 2);
            engine.ops().embedding().lookup(fx.stream, bad, table, y);
            ShapeMismatchException e = assertThrows(ShapeMismatchException.class, () -> fx.stream.synchronize());
            assertTrue(e.getMessage().contains("id 9 at row 1"), e.getMessage());
            fx.stream.synchronize();
            engine.ops().embedding().lookup(fx.stream, fx.ofInts(new int[] {1, 2}, 2), table, y);
            assertTrue(Float.isFinite(fx.read(y)[0]));
        }
    }

    /** In a process of its own: what it does breaks the device's context for good. */
    @Test
    void aBrokenContextIsALostDeviceNotADeadProcess(@TempDir Path dir) throws Exception {
        List<String> command = new ArrayList<>(List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "--add-modules=jdk.incubator.vector",
                "--enable-native-access=ALL-UNNAMED",
                "-Dlram.cuda.mlstm=general",
                "-Dorg.bytedeco.javacpp.cachedir="
                        + System.getProperty("org.bytedeco.javacpp.cachedir", dir.toString()),
                "-cp",
                System.getProperty("java.class.path"),
                Breaker.class.getName()));
        Path log = dir.resolve("log");
        Process p = new ProcessBuilder(command)
                .redirectErrorStream(true)
                .redirectOutput(log.toFile())
                .start();
        assertTrue(p.waitFor(2, TimeUnit.MINUTES), "still running");
        String output = Files.readString(log);
        assertEquals(0, p.exitValue(), output);
        assertTrue(output.contains("lost: DeviceLostException, then DeviceLostException"), output);
    }

    static final class Breaker {
        public static void main(String[] args) {
            Backend engine = open();
            Tensor nowhere = Tensor.device(DType.F32, 0x10_0000, () -> true, 1 << 20);
            String first = null;
            String second = null;
            try {
                engine.ops().elementwise().fill(engine.stream(), 1, nowhere);
                engine.stream().synchronize();
            } catch (BackendException e) {
                first = e.getClass().getSimpleName();
            }
            try (TensorArena arena = engine.arena("after")) {
                arena.f32(1);
            } catch (BackendException e) {
                second = e.getClass().getSimpleName();
            }
            engine.close();
            System.out.println("lost: " + first + ", then " + second);
        }
    }
}
