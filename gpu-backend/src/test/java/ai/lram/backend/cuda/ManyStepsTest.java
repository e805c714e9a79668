package ai.lram.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.backend.DType;
import ai.lram.backend.ShapeMismatchException;
import ai.lram.backend.Tensor;
import ai.lram.backend.UnsupportedKernelException;
import ai.lram.backend.contract.Fixture;
import ai.lram.backend.ops.Activation;
import ai.lram.backend.ops.MlstmBlockMemory;
import ai.lram.backend.ops.MlstmLayer;
import ai.lram.backend.ops.PackedWeight;
import ai.lram.backend.ops.StepForm;
import ai.lram.backend.ops.StepWeight;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Which kernels the blocks of a step of many sessions take; what they answer is the contracts' business. */
class ManyStepsTest extends OnEmulator {
    private static final int HEADS = 2;

    /** In bf16, and in fp16, too, if this is wanted. */
    private StepWeight weight(boolean fp16, Tensor full) {
        return ManyLayers.weight(fx, fp16, full);
    }

    private StepWeight weight(DType type, Tensor full) {
        return StepWeight.copy(full, type, fx.arena, fx.ops.matmul(), fx.stream);
    }

    private MlstmLayer layer(DType type, int sessions, int width, int inner, int group, int upRows) {
        return layer(
                sessions,
                width,
                inner,
                group,
                weight(type, fx.zeros(upRows, width)),
                weight(type, fx.zeros(inner, width)),
                weight(type, fx.zeros(width, inner)));
    }

    private MlstmLayer layer(
            int sessions, int width, int inner, int group, StepWeight upU, StepWeight upZ, StepWeight down) {
        return ManyLayers.layer(fx, DType.F32, sessions, width, inner, HEADS, group, upU, upZ, down);
    }

    /** Returns the names of the kernels of a step. */
    private List<String> step(List<MlstmLayer> layers, int sessions, int tokens, int width, int inner) {
        return step(layers, sessions, tokens, inner, fx.zeros(sessions, tokens, width));
    }

    private List<String> step(List<MlstmLayer> layers, int sessions, int tokens, int inner, Tensor x) {
        return step(
                (l, slots, counts, memory, y) ->
                        engine.ops().session().mlstmBlocks(fx.stream, l, slots, counts, memory, y),
                layers,
                sessions,
                tokens,
                inner,
                x);
    }

    private interface Blocks {
        void run(List<MlstmLayer> layers, Tensor slots, Tensor counts, MlstmBlockMemory memory, Tensor x);
    }

    private List<String> step(Blocks blocks, List<MlstmLayer> layers, int sessions, int tokens, int inner, Tensor x) {
        int width = x.dim(2);
        int[] slots = new int[sessions];
        int[] counts = new int[sessions];
        for (int b = 0; b < sessions; b++) {
            slots[b] = b;
            counts[b] = tokens;
        }
        Tensor ids = fx.ofInts(slots, sessions);
        Tensor news = fx.ofInts(counts, sessions);
        MlstmBlockMemory memory = MlstmBlockMemory.allocate(fx.arena, sessions, tokens, width, inner, HEADS);
        driver.launches.clear();
        driver.products = 0;
        driver.fp16Products = 0;
        blocks.run(layers, ids, news, memory, x);
        fx.stream.synchronize();
        return List.copyOf(driver.launches);
    }

    @Test
    void aRunOfBlocksIsCheckedOnceAndEachAddsWhatTheOneBeforeLeft() {
        List<String> want = new ArrayList<>(List.of("check_rows"));
        for (int block = 0; block < 2; block++) {
            want.addAll(List.of("many_norm", "many_conv", "cell_weights_256", "cell_answers", "many_skip"));
        }
        want.add("many_norm");
        MlstmLayer l = layer(DType.BF16, 9, 32, 64, 4, 64);
        assertEquals(want, step(Collections.nCopies(2, l), 9, 3, 32, 64));
    }

    @ParameterizedTest(name = "fp16={0}")
    @CsvSource({"true", "false"})
    void uAndZAreOneProductWhereTheirWeightsLieOneBehindTheOther(boolean fp16) {
        reopen(ManySteps.PRODUCTS, fp16 ? "fp16x2" : "bf16x3");
        int sessions = 11;
        int width = 32;
        int inner = 64;
        Tensor up = fx.of(fx.normal(2 * inner * width, 0.3), 2 * inner, width);
        StepWeight all = weight(fp16, up);
        StepWeight down = weight(fp16, fx.of(fx.normal(width * inner, 0.3), width, inner));
        float[] x = fx.normal(sessions * 3 * width, 1);
        List<float[]> answers = new ArrayList<>();
        for (boolean together : new boolean[] {true, false}) {
            StepWeight upU = together ? all.part(0, inner) : weight(fp16, up.slice(0, inner));
            fx.zeros(width, inner); // stands between two weights
            StepWeight upZ = together ? all.part(inner, inner) : weight(fp16, up.slice(inner, inner));
            MlstmLayer l = layer(sessions, width, inner, 4, upU, upZ, down);
            Tensor y = fx.of(x, sessions, 3, width);
            assertTrue(step(List.of(l, l), sessions, 3, inner, y).contains("many_norm"));
            assertEquals(together ? 4 : 6, driver.products);
            assertEquals(fp16 ? driver.products : 0, driver.fp16Products);
            answers.add(fx.read(y));
        }
        assertArrayEquals(answers.get(1), answers.get(0));
        assertFalse(Arrays.equals(x, answers.get(0)));
    }

    private ManySteps manyWith(long room) {
        Engine e = engine.engine();
        Products products = new Products(e, Products.Precision.FP32);
        Rows rows = new Rows(e, new KernelModule(e, "session"));
        return new ManySteps(e, products, rows, new CellSteps(e), room, "bf16x3");
    }

    /** Of 33 tokens sums of u take 25,344 bytes, their parts afterwards 12,804, reports 1,184 a session. */
    @ParameterizedTest(name = "{0} bytes: {1} products and {2} turns a block")
    @CsvSource({"63712,2,1", "63711,3,1", "38368,3,1", "38367,3,2", "38148,3,2"})
    void withLittleRoomProductsAndReportsComeInTurns(long room, int products, int turns) {
        int sessions = 11;
        int inner = 64;
        StepWeight up = weight(DType.BF16, ManyLayers.waves(fx, 2 * inner, 32));
        MlstmLayer l = layer(
                sessions,
                32,
                inner,
                4,
                up.part(0, inner),
                up.part(inner, inner),
                weight(DType.BF16, ManyLayers.waves(fx, 32, inner)));
        float[] x = fx.normal(sessions * 3 * 32, 1);
        Tensor want = fx.of(x, sessions, 3, 32);
        step(List.of(l), sessions, 3, inner, want);
        ManySteps many = manyWith(room);
        MlstmLayer again = new MlstmLayer(
                l.weights(), layer(DType.BF16, sessions, 32, inner, 4, inner).state());
        Tensor got = fx.of(x, sessions, 3, 32);
        List<String> kernels = step(
                (layers, slots, counts, memory, y) -> {
                    assertFalse(manyWith(38_147).take(layers, slots, counts, memory, y));
                    assertTrue(many.take(layers, slots, counts, memory, y));
                    many.run(layers, slots, counts, memory, y);
                },
                List.of(again),
                sessions,
                3,
                inner,
                got);
        assertArrayEquals(fx.read(want), fx.read(got));
        assertEquals(products, driver.products);
        assertEquals(turns, Collections.frequency(kernels, "cell_answers"));
    }

    private MlstmLayer layer(boolean up, boolean down, int sessions) {
        Tensor wide = fx.of(fx.normal(64 * 32, 0.1), 64, 32);
        Tensor high = fx.of(fx.normal(32 * 64, 0.1), 32, 64);
        return layer(sessions, 32, 64, 4, weight(up, wide), weight(up, wide), weight(down, high));
    }

    @Test
    void weightsAreReadInFp16WhereAllHaveItAndThePropertySaysSo() {
        int sessions = 9;
        reopen(ManySteps.PRODUCTS, "bf16x3");
        assertFalse(engine.ops().session().readsFp16(DType.F32, 9));
        step(List.of(layer(true, true, sessions)), sessions, 3, 32, 64);
        assertEquals(List.of(3, 0), List.of(driver.products, driver.fp16Products));

        reopen(ManySteps.PRODUCTS, "fp16");
        step(List.of(layer(true, true, sessions), layer(true, true, sessions)), sessions, 3, 32, 64);
        assertEquals(List.of(6, 6), List.of(driver.products, driver.fp16Products));
        step(List.of(layer(true, true, sessions), layer(true, false, sessions)), sessions, 3, 32, 64);
        assertEquals(List.of(6, 0), List.of(driver.products, driver.fp16Products));
        assertTrue(engine.ops().session().readsFp16(DType.F32, 9));
    }

    @ParameterizedTest(name = "{0}: {1}")
    @CsvSource({"many,true", "phases,true", "plain,false", "off,false", "auto,true"})
    @SuppressWarnings("try")
    void aFormThatIsNeverTakenReadsNothing(String form, boolean reads) {
        try (Setting products = Setting.of(ManySteps.PRODUCTS, "fp16x1")) {
            reopen(StepForms.PROPERTY, form);
            assertEquals(reads, engine.ops().session().readsFp16(DType.F32, 9));
            assertTrue(engine.describe().contains("of many sessions in fp16x1"), engine.describe());
        }
    }

    @Test
    void productsThatThereAreNotAreRefused() {
        EmulatedDriver other = new EmulatedDriver();
        try (Setting set = Setting.of(ManySteps.PRODUCTS, "int8")) {
            assertEquals("int8", System.getProperty(set.name()));
            assertThrows(IllegalArgumentException.class, () -> Emulator.open(other));
        }
        assertEquals(Map.of(), other.leaks());
    }

    @ParameterizedTest(name = "{0} sessions={1} L={2} D={3} I={4} group={5}")
    @CsvSource({
        "BF16,7,3,32,64,4", // the block step's
        "I8,9,3,32,64,4",
        "BF16,9,4,32,64,4",
        "BF16,9,3,32,64,2",
        "BF16,9,3,20,64,4",
        "BF16,9,3,64,80,4"
    })
    void otherBlocksTakeOtherKernels(DType type, int sessions, int tokens, int width, int inner, int group) {
        MlstmLayer l = layer(type, sessions, width, inner, group, inner);
        assertFalse(step(List.of(l), sessions, tokens, width, inner).contains("many_norm"));
    }

    /** Of the kernels of a step, the form that they are of. */
    private StepForm form(DType type, int sessions) {
        List<String> kernels = step(List.of(layer(type, sessions, 32, 64, 4, 64)), sessions, 3, 32, 64);
        if (kernels.contains("block_up")) {
            assertEquals(List.of("block_up", "block_cell", "block_down"), kernels);
            return StepForm.PHASES;
        }
        return kernels.contains("many_norm") ? StepForm.MANY : StepForm.PLAIN;
    }

    private void reopen(String property, String value) {
        close();
        try (Setting set = Setting.of(property, value)) {
            assertEquals(value, System.getProperty(set.name()));
            open();
        }
    }

    @ParameterizedTest(name = "{0} wanted for {1}, {2} sessions: {3}")
    @CsvSource({
        "resident,BF16,3,PHASES", // this device runs its blocks one after the other
        "phases,BF16,9,PHASES",
        "many,BF16,3,MANY",
        "many,I8,3,PLAIN",
        "plain,BF16,3,PLAIN",
        "off,BF16,9,PLAIN"
    })
    void thePropertysFormIsTakenOrTheNext(String wanted, DType type, int sessions, StepForm taken) {
        reopen(StepForms.PROPERTY, wanted);
        assertEquals(taken, form(type, sessions));
    }

    @Test
    void theTablesFormIsTakenOfTheSizeItNames(@TempDir Path temp) throws IOException {
        StepTable.Size size = new StepTable.Size(32, 64, HEADS, DType.BF16, DType.F32);
        StepTable table = new StepTable(List.of(
                new StepTable.Entry(StepTable.device(engine), size, 1, StepForm.MANY),
                new StepTable.Entry(StepTable.device(engine), size, 3, StepForm.PLAIN),
                new StepTable.Entry(StepTable.device(engine), size, 5, StepForm.PHASES)));
        Path file = Files.writeString(temp.resolve("forms.tsv"), table.text(List.of()));
        reopen(StepForms.TABLE, file.toString());
        assertEquals(StepForm.MANY, form(DType.BF16, 2));
        assertEquals(StepForm.PLAIN, form(DType.BF16, 3));
        assertEquals(StepForm.PHASES, form(DType.BF16, 9));
        assertEquals(StepForm.PHASES, form(DType.I8, 3));
    }

    @Test
    void theOnlyFormRefusesWhatItDoesNotTake() {
        close();
        driver = new EmulatedDriver();
        engine = Emulator.open(driver, Optional.of(StepForm.MANY));
        fx = new Fixture(engine);
        assertEquals(StepForm.MANY, form(DType.BF16, 3));
        assertThrows(UnsupportedKernelException.class, () -> form(DType.I8, 9));
        assertTrue(driver.launches.isEmpty(), driver.launches.toString());
        assertEquals(StepForm.MANY, form(DType.BF16, 9));
    }

    @Test
    void weightsOfAnotherBlockAreRefused() {
        List<MlstmLayer> layers = List.of(layer(DType.BF16, 9, 32, 64, 4, 48));
        assertThrows(ShapeMismatchException.class, () -> step(layers, 9, 3, 32, 64));
        assertTrue(driver.launches.isEmpty(), driver.launches.toString());
    }

    @Test
    void productsOfMoreRowsThanHaveRoomAreMadeInTurns() {
        int rows = 350;
        int in = 8;
        int out = 8192;
        PackedWeight packed = PackedWeight.allocate(fx.arena, DType.BF16, out, in);
        fx.ops.matmul().pack(fx.stream, fx.of(fx.normal(out * in, 1), out, in), packed);
        int distinct = 24; // no divisor of a turn's rows
        float[] some = fx.normal(distinct * in, 1);
        float[] all = new float[rows * in];
        for (int i = 0; i < all.length; i++) {
            all[i] = some[i % some.length];
        }
        Tensor few = fx.poisoned(distinct, out);
        fx.ops.matmul().linearPacked(fx.stream, fx.of(some, distinct, in), packed, null, Activation.NONE, few);
        float[] want = fx.read(few);
        Tensor y = fx.poisoned(rows, out);
        Tensor x = fx.of(all, rows, in);
        driver.launches.clear();
        fx.ops.matmul().linearPacked(fx.stream, x, packed, null, Activation.NONE, y);
        float[] got = fx.read(y);
        assertEquals(List.of("split_bf16", "add_parts", "split_bf16", "add_parts"), driver.launches);
        for (int r = 0; r < rows; r++) {
            int like = r % distinct * out;
            assertArrayEquals(
                    Arrays.copyOfRange(want, like, like + out),
                    Arrays.copyOfRange(got, r * out, (r + 1) * out),
                    "row " + r);
        }
    }
}
