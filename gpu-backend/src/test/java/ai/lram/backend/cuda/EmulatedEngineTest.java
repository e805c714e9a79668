package ai.lram.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.backend.BackendException;
import ai.lram.backend.DType;
import ai.lram.backend.DeviceLostException;
import ai.lram.backend.Replay;
import ai.lram.backend.ShapeMismatchException;
import ai.lram.backend.Tensor;
import ai.lram.backend.ops.Activation;
import ai.lram.backend.ops.EmbedMemory;
import ai.lram.backend.ops.EmbedWeights;
import ai.lram.backend.ops.HeadMemory;
import ai.lram.backend.ops.HeadWeights;
import ai.lram.backend.ops.NormSpec;
import ai.lram.backend.ops.StepChoice;
import ai.lram.backend.ops.StepInput;
import ai.lram.backend.ops.StepWeight;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

/** What the engine does with kernels that run: recordings, faults that only the device sees, NaN. */
class EmulatedEngineTest extends OnEmulator {
    /** Own kernels and a product with a bias, whose address is an attribute set at the time of the call. */
    @Test
    void aRecordingIsReplayedOverTheSameTensors() {
        Tensor x = fx.of(fx.normal(40 * 8, 1), 40, 8);
        Tensor w = fx.of(fx.normal(6 * 8, 1), 6, 8);
        Tensor bias = fx.of(fx.normal(6, 1), 6);
        Tensor other = fx.of(fx.normal(6, 1), 6);
        Tensor y = fx.poisoned(40, 6);
        Runnable work = () -> {
            engine.ops().matmul().linear(fx.stream, x, w, bias, Activation.NONE, y);
            engine.ops().elementwise().axpy(fx.stream, 0.5f, y, y);
        };
        work.run();
        float[] want = fx.read(y);
        try (Replay replay = fx.stream.record(work)) {
            engine.ops().elementwise().fill(fx.stream, Float.NaN, y);
            assertTrue(Float.isNaN(fx.read(y)[0]), "recording runs nothing");
            engine.ops().matmul().linear(fx.stream, x, w, other, Activation.NONE, fx.poisoned(40, 6));
            for (int i = 0; i < 3; i++) {
                engine.ops().elementwise().fill(fx.stream, Float.NaN, y);
                replay.run();
                assertArrayEquals(want, fx.read(y), "replay " + i);
            }
        }
    }

    @Test
    void aRecordingSeesWhatItsInputsHoldWhenItRuns() {
        Tensor x = fx.of(new float[] {1, 2, 3}, 3);
        Tensor y = fx.zeros(3);
        try (Replay replay = fx.stream.record(() -> engine.ops().elementwise().scale(fx.stream, 2, x, y))) {
            engine.ops().elementwise().fill(fx.stream, 5, x);
            replay.run();
            assertArrayEquals(new float[] {10, 10, 10}, fx.read(y));
        }
    }

    @Test
    void memoryCanBeTakenWhileRecordingAndIsClear() {
        Tensor x = fx.of(new float[] {1}, 1);
        List<Tensor> taken = new ArrayList<>();
        try (Replay replay = fx.stream.record(() -> {
            engine.ops().elementwise().fill(fx.stream, 7, x);
            taken.add(fx.zeros(300_000));
        })) {
            assertEquals(0, fx.read(taken.getFirst())[299_999]);
            replay.run();
            assertEquals(7, fx.read(x)[0]);
        }
    }

    @Test
    void aStepBeginsAndEndsWithALaunchEach() {
        List<EmbedWeights.Encoder> encoders = new ArrayList<>();
        for (int k : new int[] {1, 12, 1}) {
            encoders.add(new EmbedWeights.Encoder(fx.zeros(32, k), fx.zeros(32)));
        }
        NormSpec norm = new NormSpec(1, 1e-5f, true, false);
        EmbedWeights begin = new EmbedWeights(encoders, norm, fx.zeros(32), null);
        HeadWeights end = new HeadWeights(norm, fx.zeros(32), null, StepWeight.of(fx.zeros(7, 32)), fx.zeros(7));
        for (int rows : new int[] {1, 8, 9, 1024, 1025}) {
            Tensor host = fx.arena.hostVisible(DType.F32, StepInput.floats(rows, 1, 12, 1));
            StepInput from = StepInput.in(host, rows, 1, 12, 1);
            StepInput at = StepInput.in(fx.zeros((int) host.size()), rows, 1, 12, 1);
            Tensor x = fx.zeros(rows, 3, 32);
            Tensor part = fx.zeros(rows, 32);
            Tensor logits = fx.zeros(rows, 7);
            StepChoice choice = new StepChoice(
                    at.slots(),
                    fx.ofInts(new int[] {0, 7}, 1, 2),
                    fx.zeros(7),
                    true,
                    fx.arena.hostVisible(DType.I32, rows, 1),
                    fx.arena.hostVisible(DType.F32, rows, 1));
            driver.launches.clear();
            engine.ops().session().embed(fx.stream, begin, from, at, EmbedMemory.allocate(fx.arena, rows, 3, 32), x);
            engine.ops().session().decide(fx.stream, end, HeadMemory.of(x, 2, part, part, logits), choice);
            if (rows <= 1024) {
                assertEquals(List.of(rows <= 8 ? "step_embed" : "step_embed_many", "step_head"), driver.launches);
            } else {
                assertTrue(driver.launches.size() > 2, "as plain kernels: " + driver.launches);
                assertEquals("choose", driver.launches.getLast());
            }
        }
    }

    @Test
    void theFirstFaultIsReportedOnceAndWhatFollowsItIsVoid() {
        Tensor table = fx.of(fx.normal(12, 1), 3, 4);
        Tensor y = fx.poisoned(2, 4);
        Tensor z = fx.poisoned(2, 4);
        Tensor bad = fx.ofInts(new int[] {1, 9}, 2);
        Tensor fine = fx.ofInts(new int[] {1, 2}, 2); // uploading it later would synchronise
        engine.ops().embedding().lookup(fx.stream, bad, table, y);
        engine.ops().embedding().lookup(fx.stream, fine, table, z);
        ShapeMismatchException e = assertThrows(ShapeMismatchException.class, () -> fx.stream.synchronize());
        assertTrue(e.getMessage().contains("id 9 at row 1"), e.getMessage());
        assertTrue(e.getMessage().contains("rows 0..2"), e.getMessage());
        assertEquals(BackendException.Severity.RETRY, e.severity());
        fx.stream.synchronize();
        assertTrue(Float.isNaN(fx.read(z)[0]), "void");
        engine.ops().embedding().lookup(fx.stream, fx.ofInts(new int[] {1, 2}, 2), table, z);
        assertTrue(Float.isFinite(fx.read(z)[0]), "and the engine goes on");
    }

    @Test
    void aCountedRowsTargetThatIsNoClassIsReported() {
        engine.ops()
                .loss()
                .crossEntropy(
                        fx.stream,
                        fx.zeros(2, 5),
                        fx.ofInts(new int[] {0, 5}, 2),
                        fx.of(new float[] {1, 1}, 2),
                        1,
                        null,
                        fx.zeros(3));
        ShapeMismatchException e = assertThrows(ShapeMismatchException.class, () -> fx.stream.synchronize());
        assertTrue(e.getMessage().contains("target 5 at row 1"), e.getMessage());
    }

    @Test
    void aKernelThatCannotEndIsALostDevice() {
        driver.answers.put("launch", EmulatedDriver.LAUNCH_FAILED);
        assertThrows(DeviceLostException.class, () -> engine.ops().elementwise().fill(fx.stream, 1, fx.zeros(3)));
        driver.answers.clear();
    }
}
