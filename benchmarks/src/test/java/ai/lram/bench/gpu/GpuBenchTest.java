package ai.lram.bench.gpu;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
import ai.lram.backend.DType;
import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.TensorArena;
import ai.lram.backend.cuda.EmulatedCuda;
import ai.lram.backend.ops.MlstmDims;
import ai.lram.backend.testing.ForwardingBackend;
import ai.lram.bench.BenchException;
import ai.lram.bench.Result;
import ai.lram.bench.Run;
import ai.lram.bench.WrongAnswerException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class GpuBenchTest {
    /** Doubles every operand of a type on its way to the device. */
    private record Doubling(Backend engine, DType type) implements ForwardingBackend {
        private static final int EXPONENT = 0x80; // in the upper half of either type

        @Override
        public void upload(Stream s, Tensor dst, MemorySegment src) {
            try (Arena arena = Arena.ofConfined()) {
                MemorySegment m = arena.allocate(src.byteSize(), 64).copyFrom(src);
                for (long j = 0; dst.dtype() == type && j < dst.size(); j++) {
                    long at = (j + 1) * type.bytes() - Short.BYTES;
                    m.set(ValueLayout.JAVA_SHORT_UNALIGNED, at, (short)
                            (m.get(ValueLayout.JAVA_SHORT_UNALIGNED, at) + EXPONENT));
                }
                engine.upload(s, dst, m);
                s.synchronize();
            }
        }
    }

    private static MlstmCase of(int tokens) {
        return new MlstmCase("tiny", new MlstmDims(2, tokens, 2, 8, 16), 1, 2, 3e9);
    }

    @Test
    void withoutAGpuNothingIsMeasured() {
        assumeTrue(
                Backends.providers().stream()
                        .noneMatch(p ->
                                p.name().equals("cuda") && p.whyUnavailable().isEmpty()),
                "skipped: this machine has a GPU");
        Run run = new Run(what -> {});
        BenchException e = assertThrows(BenchException.class, () -> new GpuBench(GpuBench.usual(), true).run(run));
        assertTrue(e.getMessage().contains("; fix: "), e.getMessage());
        assertTrue(run.results().isEmpty());
    }

    @ParameterizedTest
    @ValueSource(ints = {30, 700})
    void aCaseIsCheckedAndReported(int tokens) {
        Run run = new Run(what -> {});
        try (Backend engine = EmulatedCuda.open()) {
            GpuRun gpu = new GpuRun(run, engine, new DeviceCeilings(1e12, 1e15, 1), true);
            of(tokens).measure(gpu);
            gpu.tables().forEach(run::table);
        }
        List<String> names = run.results().stream().map(Result::caseName).toList();
        assertEquals(
                List.of(
                        "mlstm-fw-tiny",
                        "mlstm-fw-tiny-bandwidth",
                        "mlstm-fw-tiny-flop",
                        "mlstm-fwbw-tiny",
                        "mlstm-fwbw-tiny-bandwidth",
                        "mlstm-fwbw-tiny-flop",
                        "mlstm-fwbw-tiny-memory"),
                names);
        for (Result r : run.results()) {
            assertTrue(r.value() > 0 && r.floor() > 0 && r.ratio() > 0, r.toString());
        }
        Result both = run.results().get(3);
        assertEquals(2, both.peer());
        assertTrue(both.note().contains("H100"), both.note());
        assertEquals(3, run.results().getLast().peer());
        assertEquals(3, run.tables().getFirst().rows().size());
    }

    @Test
    void aWrongAnswerIsNoResult() {
        Run run = new Run(what -> {});
        try (Backend engine = EmulatedCuda.open()) {
            Backend wrong = new Doubling(engine, DType.BF16);
            GpuRun gpu = new GpuRun(run, wrong, new DeviceCeilings(1e12, 1e15, 1), true);
            WrongAnswerException e = assertThrows(WrongAnswerException.class, () -> of(30).measure(gpu));
            assertTrue(e.getMessage().contains("mlstm-fwbw-tiny computes a wrong h"), e.getMessage());
        }
        assertTrue(run.results().isEmpty());
    }

    /** A head that fits on chip, and one that does not. */
    @ParameterizedTest
    @ValueSource(ints = {24, 136})
    void theSlstmIsCheckedAndReported(int headDim) {
        Run run = new Run(what -> {});
        try (Backend engine = EmulatedCuda.open()) {
            GpuRun gpu = new GpuRun(run, engine, new DeviceCeilings(1e12, 1e15, 1), true);
            new SlstmCase(3, 5, 2, headDim).measure(gpu);
        }
        List<String> names = run.results().stream().map(Result::caseName).toList();
        assertEquals(
                List.of("slstm-fw-h" + headDim, "slstm-fwbw-h" + headDim),
                names.stream().filter(n -> n.endsWith("h" + headDim)).toList());
        for (Result r : run.results()) {
            assertTrue(r.value() > 0 && r.floor() > 0 && r.ratio() > 0, r.toString());
        }
    }

    @Test
    void aWrongSlstmIsNoResult() {
        Run run = new Run(what -> {});
        try (Backend engine = EmulatedCuda.open()) {
            GpuRun gpu = new GpuRun(run, new Doubling(engine, DType.F32), new DeviceCeilings(1e12, 1e15, 1), true);
            WrongAnswerException e =
                    assertThrows(WrongAnswerException.class, () -> new SlstmCase(3, 5, 2, 24).measure(gpu));
            assertTrue(e.getMessage().contains("slstm-fwbw-h24 computes a wrong y"), e.getMessage());
        }
        assertTrue(run.results().isEmpty());
    }

    private static TrainCase training() {
        return new TrainCase("tiny", XlstmConfig.mlstm(32, 1, 2), 2, 9, 5, 3e9);
    }

    @Test
    void trainingIsCheckedAndReported() {
        Run run = new Run(what -> {});
        try (Backend engine = EmulatedCuda.open()) {
            GpuRun gpu = new GpuRun(run, engine, new DeviceCeilings(1e12, 1e15, 1), true);
            training().measure(gpu);
            gpu.tables().forEach(run::table);
        }
        assertEquals(
                List.of(
                        "train-tiny",
                        "train-tiny-bandwidth",
                        "train-tiny-flop",
                        "train-tiny-memory",
                        "train-tiny-memory-formula"),
                run.results().stream()
                        .map(Result::caseName)
                        .filter(n -> !n.contains("-ms-"))
                        .toList());
        Result rate = run.results().getFirst();
        assertEquals("tokens/s", rate.unit());
        assertEquals(5, rate.peer());
        assertTrue(rate.value() > 0 && rate.value() < rate.floor(), rate.toString());
        assertTrue(rate.low() <= rate.value() && rate.value() <= rate.high(), rate.toString());
        Result memory = run.results().stream()
                .filter(r -> r.caseName().endsWith("-memory"))
                .findFirst()
                .orElseThrow();
        assertTrue(memory.value() > memory.floor(), memory.toString());
        Result formula = run.results().stream()
                .filter(r -> r.caseName().endsWith("-formula"))
                .findFirst()
                .orElseThrow();
        assertEquals(1, memory.value() / formula.value(), 0.02, formula.toString());
        assertTrue(formula.note().contains("arenas hold"), formula.note());
        assertEquals(2, run.tables().getFirst().rows().size());
        List<String> kernels =
                run.tables().get(1).rows().stream().map(row -> row.get(1)).toList();
        assertTrue(kernels.containsAll(List.of("conv qkv", "conv qkv dx", "mlstm dx")), kernels.toString());
    }

    @Test
    void theWholeTrainerIsMeasured() {
        Run run = new Run(what -> {});
        try (Backend engine = EmulatedCuda.open()) {
            GpuRun gpu = new GpuRun(run, engine, new DeviceCeilings(1e12, 1e15, 1), true);
            new TrainerCase("tiny", XlstmConfig.mlstm(32, 1, 2), 1, 4, 7).measure(gpu);
        }
        Result rate = run.results().getFirst();
        assertEquals("trainer-tiny", rate.caseName());
        assertEquals(7, rate.peer());
        assertTrue(rate.value() > 0 && rate.value() < rate.floor(), rate.toString());
    }

    @Test
    void lossesThatDifferOrDoNotFallAreNoResult() {
        TrainCase c = training();
        double[] falling = {1, 0.99, 0.98};
        c.requireSameLosses(falling, new double[] {1.001, 0.991, 0.979});
        assertThrows(WrongAnswerException.class, () -> c.requireSameLosses(falling, new double[] {1, 0.99, 0.95}));
        assertThrows(
                WrongAnswerException.class, () -> c.requireSameLosses(falling, new double[] {1, Double.NaN, 0.98}));
        assertThrows(
                WrongAnswerException.class, () -> c.requireSameLosses(new double[] {1, 1, 1}, new double[] {1, 1, 1}));
    }

    /** 16M: about 2 GFLOP/ms of products for 19,200 tokens through 12.7 million weights, and what passes between them. */
    @Test
    void theWorkOfTrainingIsCounted() {
        TrainCase c = (TrainCase) TrainCase.usual().getFirst();
        long parameters = 12_700_000;
        double products = 6.0 * 128 * 150 * parameters;
        double cells = 8 * (5.9e9 + 14.7e9);
        assertEquals(products + cells, c.work(parameters).flop(), 0.02 * products);
        double values = 128 * 150 * 8 * (512 + 7 * 1024) * 8.0;
        assertEquals(values + 38.0 * parameters, c.work(parameters).bytes(), 1e6);
    }

    @Test
    void ceilingsAreMeasuredAndChecked() {
        try (Backend engine = EmulatedCuda.open()) {
            DeviceCeilings c = DeviceCeilings.measure(engine, 70_000, 64, true);
            assertTrue(c.bytesPerSecond() > 0 && c.flopPerSecond() > 0, c.toString());
        }
    }

    /** The figures of the design: 158 MB and 5.9 GFLOP for 16M, 394 MB and 14.7 for 206M, forward. */
    @Test
    void workIsCounted() {
        MlstmCase small = (MlstmCase) GpuBench.usual().get(0);
        assertEquals(158e6, small.forwardWork().bytes(), 1e6);
        assertEquals(5.9e9, small.forwardWork().flop(), 0.05e9);
        MlstmCase large = (MlstmCase) GpuBench.usual().get(1);
        assertEquals(394e6, large.forwardWork().bytes(), 1e6);
        assertEquals(14.7e9, large.forwardWork().flop(), 0.1e9);
        MlstmCase seven = (MlstmCase) GpuBench.usual().get(2);
        assertEquals(
                326e9, seven.forwardWork().flop(), 1e9, "triangles of 128 tokens, states and their product with q");
        assertEquals(
                List.of(
                        "mlstm-fwbw-lram16m",
                        "mlstm-fwbw-lram206m",
                        "mlstm-fwbw-7b-s8192",
                        "mlstm-fwbw-7b-s65536",
                        "slstm-fwbw-h128",
                        "slstm-fwbw-h320",
                        "train-16m",
                        "train-206m",
                        "trainer-16m"),
                GpuBench.usual().stream().map(GpuCase::name).toList());
    }

    @Test
    void noiseIsWhatItSaysItIs() {
        try (Backend cpu = Backends.open("cpu", BackendOptions.threads(1));
                TensorArena arena = cpu.arena("test");
                Noise noise = new Noise(DType.F32, 3)) {
            Tensor t = noise.fill(cpu, arena.f32(5_000_000));
            double sum = 0;
            double squares = 0;
            for (int j = 0; j < 5_000_000; j += 7) {
                assertEquals(noise.at(j), t.get(j));
                sum += t.get(j);
                squares += t.get(j) * t.get(j);
            }
            double n = 5_000_000 / 7.0;
            assertEquals(0, sum / n, 0.01);
            assertEquals(1, squares / n, 0.01);
        }
    }
}
