package ai.lram.backend.cpu;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.DType;
import ai.lram.backend.Tensor;
import ai.lram.backend.UnsupportedKernelException;
import ai.lram.backend.contract.MlstmSessions;
import ai.lram.backend.contract.MlstmSessions.Sizes;
import ai.lram.backend.contract.SessionContract;
import ai.lram.backend.ops.FoldSchedule;
import ai.lram.backend.ops.MlstmBlockState;
import ai.lram.backend.ops.MlstmSlots;
import ai.lram.backend.ops.MlstmSpec;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

class CpuSessionTest extends SessionContract {
    @Override
    protected Backend openBackend() {
        return new CpuBackend(BackendOptions.threads(2));
    }

    /** A head's phase is all that it has here: sessions have none. */
    @Test
    void aHeadFoldsFirstWhenTheScheduleSaysSo() {
        int heads = 5;
        int layer = 2;
        FoldSchedule schedule = new FoldSchedule(30, 12, 6);
        Sizes z = new Sizes(2, heads, 8, 8, schedule.capacity());
        MlstmSlots state = MlstmSessions.emptyPool(fx, DType.F32, z);
        int[] counts = {MlstmSessions.L, MlstmSessions.L};
        for (int held = 0; held <= schedule.first(); held += MlstmSessions.L) {
            float[][] in = MlstmSessions.inputs(z, counts, (part, width) -> fx.normal(width, 1));
            MlstmSessions.step(fx, MlstmSpec.exponential(), schedule, layer, state, z, new int[] {1, 0}, counts, in);
            int[] folded = fx.readInts(state.folded());
            for (int cell = 0; cell < folded.length; cell++) {
                int first = schedule.firstOf(layer * heads + cell % heads);
                assertEquals(held + MlstmSessions.L > first, folded[cell] != 0, "cell " + cell + " after " + held);
            }
        }
    }

    @Test
    void aMatrixStateInBf16IsRefusedAndChangesNothing() {
        Tensor c = fx.poisoned(DType.BF16, 2, 1, 4, 4);
        MlstmSlots state = new MlstmSlots(
                c,
                fx.zeros(2, 1, 4),
                fx.zeros(2, 1),
                fx.poisoned(DType.BF16, 2, 1, 6, 4),
                fx.poisoned(DType.BF16, 2, 1, 6, 4),
                fx.zeros(2, 1, 6),
                fx.zeros(2, 1, 6),
                fx.ofInts(new int[2], 2, 1),
                fx.ofInts(new int[2], 2, 1));
        FoldSchedule schedule = new FoldSchedule(6, 6, 1);
        Tensor qkv = fx.zeros(1, 3, 1, 4);
        Tensor gates = fx.zeros(1, 3, 1);
        Tensor row = fx.ofInts(new int[1], 1);
        Tensor count = fx.ofInts(new int[] {3}, 1);
        List<Executable> calls = List.of(
                () -> fx.ops.session().mlstmReset(fx.stream, state, 0),
                () -> fx.ops
                        .session()
                        .mlstmStep(
                                fx.stream,
                                MlstmSpec.exponential(),
                                schedule,
                                0,
                                state,
                                row,
                                count,
                                qkv,
                                qkv,
                                qkv,
                                gates,
                                gates,
                                qkv),
                () -> fx.ops
                        .session()
                        .mlstmBlock(
                                fx.stream,
                                null,
                                new MlstmBlockState(state, fx.zeros(2, 3, 4), schedule, 0),
                                row,
                                count,
                                null,
                                qkv));
        for (Executable call : calls) {
            UnsupportedKernelException e = assertThrows(UnsupportedKernelException.class, call);
            assertTrue(e.getMessage().contains("BF16") && e.getMessage().contains("device=cuda"), e.getMessage());
        }
        assertTrue(Float.isNaN(fx.read(c)[0]));
        assertArrayEquals(new int[2], fx.readInts(state.ringLength()));
    }
}
