package ai.lram.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.backend.DType;
import ai.lram.backend.Tensor;
import ai.lram.backend.contract.MlstmSessions;
import ai.lram.backend.contract.MlstmSessions.Sizes;
import ai.lram.backend.ops.FoldSchedule;
import ai.lram.backend.ops.MlstmSlots;
import ai.lram.backend.ops.MlstmSpec;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

/** Which kernels the mLSTM's step of many sessions takes; what they answer is the contracts' business. */
class CellStepsTest extends OnEmulator {
    /** One step with the same tokens in every row. Returns the names of its kernels. */
    private List<String> step(int rows, int tokens, int heads, int dq, int dv, int ring, float[] q, float[] answers) {
        MlstmSlots state = MlstmSessions.emptyPool(fx, DType.F32, new Sizes(rows, heads, dq, dv, ring));
        int[] slots = new int[rows];
        int[] counts = new int[rows];
        for (int b = 0; b < rows; b++) {
            slots[b] = rows - 1 - b;
            counts[b] = tokens;
        }
        Tensor queries = fx.of(repeated(q, rows), rows, tokens, heads, dq);
        Tensor values = fx.of(repeated(fx.normal(tokens * heads * dv, 1), rows), rows, tokens, heads, dv);
        Tensor gates = fx.zeros(rows, tokens, heads);
        Tensor ids = fx.ofInts(slots, rows);
        Tensor news = fx.ofInts(counts, rows);
        Tensor h = fx.poisoned(rows, tokens, heads, dv);
        driver.launches.clear();
        engine.ops()
                .session()
                .mlstmStep(
                        fx.stream,
                        MlstmSpec.exponential(),
                        new FoldSchedule(6, 6, 1),
                        0,
                        state,
                        ids,
                        news,
                        queries,
                        queries,
                        values,
                        gates,
                        gates,
                        h);
        List<String> launched = List.copyOf(driver.launches);
        float[] got = fx.read(h);
        System.arraycopy(got, 0, answers, 0, got.length);
        return launched;
    }

    private static float[] repeated(float[] row, int rows) {
        float[] all = new float[row.length * rows];
        for (int b = 0; b < rows; b++) {
            System.arraycopy(row, 0, all, b * row.length, row.length);
        }
        return all;
    }

    @ParameterizedTest(name = "rows={0} tokens={1} NH={2} DHQK={3} DHHV={4}: {5}")
    @CsvSource({
        "1,3,1,16,24,cell_weights_256",
        "1,1,2,4,4,cell_weights_256",
        "13,3,2,4,8,cell_weights_128",
        "49,3,2,4,8,cell_weights_64",
        "2,4,1,16,16,mlstm_step",
        "2,3,1,7,8,mlstm_step",
        "2,3,1,8,10,mlstm_step"
    })
    void sizesDecideWhichKernelsStep(int rows, int tokens, int heads, int dq, int dv, String first) {
        float[] answers = new float[rows * tokens * heads * dv];
        List<String> launched = step(rows, tokens, heads, dq, dv, 9, fx.normal(tokens * heads * dq, 1), answers);
        String second = first.startsWith("cell") ? "cell_answers" : "mlstm_commit";
        assertEquals(List.of("check_rows", first, second), launched);
    }

    @ParameterizedTest(name = "state={0}")
    @EnumSource(names = {"F32", "BF16"})
    void sessionsThatBeganTogetherFoldInDifferentSteps(DType type) {
        int rows = 24;
        FoldSchedule schedule = new FoldSchedule(30, 12, 6);
        Sizes z = new Sizes(rows, 1, 8, 8, schedule.capacity());
        MlstmSlots state = MlstmSessions.emptyPool(fx, type, z);
        int[] all = IntStream.range(0, rows).toArray();
        int[] counts = new int[rows];
        Arrays.fill(counts, MlstmSessions.L);
        int before = 0;
        int steps = 0;
        for (int step = 0; before < rows; step++) {
            float[][] in = MlstmSessions.inputs(z, counts, (part, width) -> fx.normal(width, 1));
            MlstmSessions.step(fx, MlstmSpec.exponential(), schedule, 0, state, z, all, counts, in);
            int folded = IntStream.of(fx.readInts(state.folded())).sum();
            assertTrue(folded == 0 || step >= 5, "a fold in step " + step);
            assertTrue(folded == rows || step < 10, "no fold up to step " + step);
            steps += folded > before ? 1 : 0;
            before = folded;
        }
        assertTrue(steps >= 4, "first folds in " + steps + " steps, seed " + fx.seed);
    }

    @Test
    void moreRowsThanHaveRoomForTheirReportsAnswerInTurns() {
        int rows = 530;
        float[] answers = new float[rows * 4];
        List<String> launched = step(rows, 1, 1, 4, 4, 4000, fx.normal(4, 1), answers);
        assertTrue(launched.size() > 3, launched.toString());
        float[] first = Arrays.copyOf(answers, 4);
        assertTrue(Float.isFinite(first[0]));
        assertArrayEquals(repeated(first, rows), answers);
    }
}
