package ai.lram.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.backend.DType;
import ai.lram.backend.ShapeMismatchException;
import ai.lram.backend.Tensor;
import ai.lram.backend.TensorArena;
import ai.lram.backend.ops.MlstmDims;
import ai.lram.backend.ops.MlstmOps;
import ai.lram.backend.ops.MlstmSpec;
import ai.lram.backend.ops.MlstmState;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Which calls of the mLSTM go to the kernels on tensor cores, and with which arguments. */
class TensorCoresTest {
    private record Launched(String name, int gridX, int gridY, int threads, int sharedBytes, byte[] argument) {
        long address(int at) {
            return MemorySegment.ofArray(argument).get(ValueLayout.JAVA_LONG_UNALIGNED, at);
        }

        int number(int at) {
            return MemorySegment.ofArray(argument).get(ValueLayout.JAVA_INT_UNALIGNED, at);
        }
    }

    @SuppressWarnings("restricted")
    private static final class Noting extends ScriptedDriver {
        private static final int ARGUMENT_BYTES = 512;

        final Map<Long, String> names = new HashMap<>();
        final List<Launched> launches = new ArrayList<>();

        @Override
        public int function(long[] function, long module, String name) {
            int status = super.function(function, module, name);
            names.put(function[0], name);
            return status;
        }

        @Override
        public int launch(
                long function,
                int gridX,
                int gridY,
                int gridZ,
                int blockX,
                int blockY,
                int blockZ,
                int sharedBytes,
                long stream,
                long argument) {
            byte[] bytes = MemorySegment.ofAddress(argument)
                    .reinterpret(ARGUMENT_BYTES)
                    .toArray(ValueLayout.JAVA_BYTE);
            launches.add(new Launched(names.get(function), gridX, gridY, blockX, sharedBytes, bytes));
            return SUCCESS;
        }

        /** Names of the kernels launched since the last call, in order. */
        String taken() {
            String all = String.join(" ", launches.stream().map(l -> l.name).toList());
            launches.clear();
            return all;
        }
    }

    private static final String PLAIN_WINDOW = "mlstm_gates mlstm_output";
    private static final String PLAIN_CHUNKS = "mlstm_gates mlstm_states mlstm_output";
    private static final String CHUNKS =
            "mlstm_chunk_gates mlstm_scan_gates mlstm_chunk_states mlstm_scan_states mlstm_forward_state";

    private final Noting driver = new Noting();
    private final ScriptedNvrtc nvrtc = new ScriptedNvrtc();

    @TempDir
    Path headers;

    @BeforeEach
    void installHeaders() throws IOException {
        Files.writeString(headers.resolve("cuda_bf16.h"), "");
        Files.writeString(headers.resolve("cuda_bf16.hpp"), "");
    }

    private CudaBackend open(Path folder) {
        return new CudaBackend(
                driver,
                nvrtc,
                new ScriptedCublasLt(),
                Device.read(driver, 0),
                folder,
                new CubinCache(null, 0),
                Optional.empty());
    }

    /** One problem on the engine; the same tensor stands for many. */
    private final class Problem {
        final MlstmDims dims;
        final MlstmSpec spec;
        final MlstmOps ops;
        final CudaBackend engine;
        final Tensor x;
        final Tensor g;
        final Tensor saved;
        final Tensor scratch;
        final MlstmState state;

        Problem(CudaBackend engine, TensorArena arena, DType type, boolean states, MlstmDims dims, MlstmSpec spec) {
            this.dims = dims;
            this.spec = spec;
            this.engine = engine;
            ops = engine.ops().mlstm();
            x = arena.allocate(type, dims.batch(), dims.tokens(), dims.heads(), dims.dimQk());
            g = arena.f32(dims.batch(), dims.tokens(), dims.heads());
            int pairs = dims.batch() * dims.heads();
            state = new MlstmState(
                    arena.f32(pairs * dims.dimQk() * dims.dimHv()), arena.f32(pairs * dims.dimQk()), arena.f32(pairs));
            saved = arena.f32((int) ops.savedFloats(dims, spec, type, states));
            scratch = arena.f32((int) ops.scratchFloats(dims, spec, type, states));
            driver.launches.clear();
        }

        void forward(Tensor q, MlstmState initial, MlstmState last, Tensor keep) {
            ops.forward(engine.stream(), dims, spec, q, x, x, g, g, initial, x, last, keep, scratch);
        }

        void backward(MlstmState initial, MlstmState dLast, MlstmState dInitial) {
            ops.backward(
                    engine.stream(),
                    dims,
                    spec,
                    x,
                    x,
                    x,
                    g,
                    g,
                    initial,
                    x,
                    saved,
                    x,
                    dLast,
                    x,
                    x,
                    x,
                    g,
                    g,
                    dInitial,
                    scratch);
        }
    }

    @ParameterizedTest(name = "{0} {1} on {2}: S={3} d={4} chunk={5} states={6}")
    @CsvSource({
        // Hopper
        "auto,BF16,90,150,256,0,false,mlstm_forward,mlstm_backward",
        "auto,BF16,90,160,256,200,false,mlstm_forward,mlstm_backward",
        "auto,BF16,90,161,256,0,false,CHUNKS_SM90,BACK_SM90",
        "auto,BF16,90,64,64,20,false,CHUNKS_SM90,BACK_SM90",
        "auto,BF16,90,64,64,0,true,CHUNKS_SM90,BACK_SM90",
        "auto,BF16,90,161,264,0,false,CHUNKS_SM90,BACK_WIDE_SM90",
        "general,BF16,90,150,256,0,false,PLAIN_WINDOW,mlstm_gates",
        "auto,BF16,90,64,36,0,false,PLAIN_WINDOW,mlstm_gates",
        "auto,BF16,90,64,36,0,true,PLAIN_CHUNKS,mlstm_gates",
        "auto,F32,90,150,256,0,false,mlstm_forward,mlstm_gates",
        "auto,F32,90,161,64,0,false,PLAIN_WINDOW,mlstm_gates",
        "auto,F32,90,64,64,0,true,PLAIN_CHUNKS,mlstm_gates",
        "fast,F32,90,96,64,0,false,mlstm_forward,mlstm_backward",
        "fast,F32,90,97,64,0,false,CHUNKS,BACK",
        "fast,F32,90,64,64,0,true,CHUNKS,BACK",
        "fast,F32,90,64,33,0,false,PLAIN_WINDOW,mlstm_gates",
        // others
        "auto,BF16,100,161,256,0,false,CHUNKS,BACK",
        "auto,BF16,80,128,256,0,false,mlstm_forward,mlstm_backward",
        "auto,BF16,80,129,256,0,false,CHUNKS,BACK",
        "auto,BF16,86,64,256,0,false,mlstm_forward,mlstm_backward",
        "auto,BF16,86,65,256,0,true,CHUNKS,BACK",
        "auto,BF16,75,64,256,0,false,PLAIN_WINDOW,mlstm_gates"
    })
    @SuppressWarnings("try")
    void takeTheCallsThatFitThem(
            String wanted,
            DType type,
            int capability,
            int tokens,
            int dim,
            int chunk,
            boolean states,
            String forward,
            String backward) {
        driver.major = capability / 10;
        driver.minor = capability % 10;
        driver.sharedBytes = switch (capability) {
            case 80 -> 163 << 10;
            case 86 -> 99 << 10;
            case 75 -> 64 << 10;
            default -> 227 << 10;
        };
        try (Setting set = Setting.of(TensorCores.PROPERTY, wanted);
                CudaBackend engine = open(headers);
                TensorArena arena = engine.arena("test")) {
            MlstmDims d = new MlstmDims(1, tokens, 2, dim, dim);
            Problem p = new Problem(
                    engine, arena, type, states, d, MlstmSpec.exponential().withChunk(chunk));
            p.forward(p.x, states ? p.state : null, states ? p.state : null, p.saved);
            assertEquals(kernels(forward), driver.taken());
            p.backward(states ? p.state : null, null, states ? p.state : null);
            String seen = driver.taken();
            assertTrue(seen.startsWith(kernels(backward)), seen + " in place of " + kernels(backward));
        }
    }

    private static String kernels(String shorthand) {
        return switch (shorthand) {
            case "PLAIN_WINDOW" -> PLAIN_WINDOW;
            case "PLAIN_CHUNKS" -> PLAIN_CHUNKS;
            case "CHUNKS" -> CHUNKS;
            case "CHUNKS_SM90" -> CHUNKS.replace("mlstm_chunk_states", "mlstm_chunk_states_sm90");
            case "BACK" -> "mlstm_backward_rows mlstm_chunk_states mlstm_scan_states mlstm_backward_chunk";
            case "BACK_SM90" ->
                "mlstm_backward_rows mlstm_chunk_states_sm90 mlstm_scan_states mlstm_backward_chunk_kept_sm90";
            case "BACK_WIDE_SM90" ->
                "mlstm_backward_rows mlstm_chunk_states_sm90 mlstm_scan_states mlstm_backward_chunk_lean_sm90";
            default -> shorthand;
        };
    }

    @Test
    @SuppressWarnings("try")
    void warpgroupsCanBeSwitchedOff() {
        try (Setting off = Setting.of(TensorCores.WARPGROUPS, "false");
                CudaBackend engine = open(headers);
                TensorArena arena = engine.arena("test")) {
            Problem p = new Problem(
                    engine, arena, DType.BF16, false, new MlstmDims(1, 300, 2, 64, 64), MlstmSpec.exponential());
            p.forward(p.x, null, null, p.saved);
            assertEquals(CHUNKS, driver.taken());
            assertTrue(nvrtc.compiled.stream().noneMatch(c -> c.name().contains("sm90")), "nothing of it is compiled");
        }
    }

    @Test
    void whatIsSavedSaysHowItWasLeft() {
        try (CudaBackend engine = open(headers);
                TensorArena arena = engine.arena("test")) {
            // The last state is asked for, its gradient is not given: no argument of the backward pass tells.
            Problem p = new Problem(
                    engine, arena, DType.BF16, true, new MlstmDims(1, 100, 2, 64, 64), MlstmSpec.exponential());
            p.forward(p.x, null, p.state, p.saved);
            assertEquals(kernels("CHUNKS_SM90"), driver.taken());
            p.backward(null, null, null);
            assertEquals(kernels("BACK_SM90"), driver.taken());

            Problem window = new Problem(
                    engine, arena, DType.BF16, false, new MlstmDims(1, 100, 2, 64, 64), MlstmSpec.exponential());
            assertTrue(window.saved.size() < p.saved.size());
            assertThrows(ShapeMismatchException.class, () -> window.forward(window.x, null, p.state, window.saved));
            assertEquals("", driver.taken());
        }
    }

    /** Heads of 8 need more scratch in a window, whose fallback is the plain kernels, than their states do. */
    @ParameterizedTest(name = "{0} {1} on {2}")
    @CsvSource({
        "auto,F32,90",
        "fast,F32,90",
        "general,F32,90",
        "auto,BF16,90",
        "general,BF16,90",
        "fast,F32,80",
        "auto,BF16,80",
        "auto,BF16,100",
        "auto,BF16,75"
    })
    @SuppressWarnings("try")
    void roomForStatesIsEnoughForEveryCall(String wanted, DType type, int capability) {
        driver.major = capability / 10;
        driver.minor = capability % 10;
        driver.sharedBytes = capability == 75 ? 64 << 10 : capability == 80 ? 163 << 10 : 227 << 10;
        try (Setting set = Setting.of(TensorCores.PROPERTY, wanted);
                CudaBackend engine = open(headers)) {
            for (int tokens : new int[] {1, 70, 96, 97, 128, 129, 160, 161, 300}) {
                for (int dim : new int[] {4, 8, 36, 64}) {
                    for (int chunk : new int[] {0, 16, 400}) {
                        try (TensorArena arena = engine.arena("test")) {
                            MlstmDims d = new MlstmDims(2, tokens, 2, dim, dim);
                            MlstmSpec spec = MlstmSpec.exponential().withChunk(chunk);
                            Problem p = new Problem(engine, arena, type, true, d, spec);
                            for (int which = 0; which < 8; which++) {
                                MlstmState initial = (which & 1) == 0 ? null : p.state;
                                MlstmState other = (which & 2) == 0 ? null : p.state;
                                p.forward(p.x, initial, other, (which & 4) == 0 ? null : p.saved);
                                assertFalse(driver.taken().isEmpty());
                                p.backward(initial, other, (which & 4) == 0 ? null : p.state);
                                assertFalse(driver.taken().isEmpty());
                            }
                            Problem bare = new Problem(engine, arena, type, false, d, spec);
                            bare.forward(bare.x, null, null, bare.saved);
                            bare.backward(null, null, null);
                            assertTrue(bare.saved.size() <= p.saved.size());
                            assertTrue(bare.scratch.size() <= p.scratch.size());
                        }
                    }
                }
            }
        }
    }

    @Test
    void tensorsOffAVectorAreRefusedWithChunksAndLeftToThePlainKernelsInAWindow() {
        try (CudaBackend engine = open(headers);
                TensorArena arena = engine.arena("test")) {
            Tensor roomy = arena.allocate(DType.BF16, 400 * 2 * 64 + 1);
            Problem p = new Problem(
                    engine, arena, DType.BF16, false, new MlstmDims(1, 400, 2, 64, 64), MlstmSpec.exponential());
            Tensor off = roomy.view(1, 1, 400, 2, 64);
            ShapeMismatchException e =
                    assertThrows(ShapeMismatchException.class, () -> p.forward(off, null, null, p.saved));
            assertTrue(e.getMessage().contains("multiple of 16"), e.getMessage());
            assertEquals("", driver.taken());
            Problem window = new Problem(
                    engine, arena, DType.BF16, false, new MlstmDims(1, 40, 2, 64, 64), MlstmSpec.exponential());
            window.forward(roomy.view(1, 1, 40, 2, 64), null, null, window.saved);
            assertEquals(PLAIN_WINDOW, driver.taken());
        }
    }

    /** Offsets as the compiler lays out {@code MlstmStates}, {@code MlstmForward} and {@code MlstmBackward}. */
    @Test
    void everyKernelFindsItsArgumentsInItsRecord() {
        try (CudaBackend engine = open(headers);
                TensorArena arena = engine.arena("test")) {
            MlstmDims d = new MlstmDims(2, 300, 3, 72, 72);
            Problem p = new Problem(engine, arena, DType.BF16, true, d, MlstmSpec.exponential());
            MlstmChunks c = MlstmChunks.of(
                    TensorCoreLimits.of(Device.read(driver, 0), DType.BF16, true, true), d, p.spec, true);
            MlstmChunks.Places at = c.places(p.saved.address(), p.scratch.address());
            p.forward(p.x, p.state, p.state, p.saved);
            List<Launched> all = List.copyOf(driver.launches);
            Launched gates = all.get(0);
            assertEquals(18, gates.gridX, "2 x 3 heads of 3 chunks");
            assertEquals(at.own(), gates.address(32));
            assertEquals(p.state.scaM().address(), gates.address(64));
            assertEquals(128, gates.number(80));
            assertEquals(6, gates.number(88));
            Launched states = all.get(2);
            assertEquals(18, states.gridX, "one tile of 128 x 128 for each");
            assertEquals(at.states(), states.address(48));
            assertEquals(p.state.matC().address(), states.address(64));
            assertEquals(6, states.number(120));
            assertEquals(0, states.number(124), "forward");
            Launched scan = all.get(3);
            assertEquals(6, scan.gridY);
            assertEquals(4, scan.gridX, "648 vectors in three blocks, and one for n");
            Launched forward = all.get(4);
            assertEquals(18, forward.gridX);
            assertEquals(at.denominators(), forward.address(48));
            assertEquals(at.statesM(), forward.address(72));
            assertEquals(1f / (float) Math.sqrt(72), Float.intBitsToFloat(forward.number(104)), 1e-7f);
            assertEquals(1, forward.number(116), "normalised");
            assertEquals(new TensorCoreLimits.Tiling(8, 8, 2, 2).sharedBytes(72, true), forward.sharedBytes);

            driver.launches.clear();
            p.backward(p.state, p.state, p.state);
            Launched reverse = driver.launches.get(1);
            assertEquals(at.rows() + 2 * 4 * c.tokens(), reverse.address(16));
            assertEquals(0, reverse.address(32), "no factors");
            assertEquals(at.free(), reverse.address(48));
            assertEquals(1, reverse.number(124), "reverse");
            Launched back = driver.launches.get(3);
            assertEquals(1, back.number(128), "exact");
            assertEquals(128, back.number(132));
            assertEquals(p.x.address(), back.address(144));
            assertEquals(at.states(), back.address(152));
            assertEquals(at.free(), back.address(176));
            assertEquals(at.rows(), back.address(200));
            assertEquals(p.state.scaM().address(), back.address(208));
            assertEquals(0, back.address(216), "df holds all of it");
        }
    }

    @Test
    void publishedGradientsLeaveOutWhatGoesStraightToTheLastState() {
        try (CudaBackend engine = open(headers);
                TensorArena arena = engine.arena("test")) {
            MlstmSpec spec = new MlstmSpec(MlstmSpec.InputGate.EXPONENTIAL, true, 1e-6f, false, 0);
            Problem p = new Problem(engine, arena, DType.BF16, true, new MlstmDims(2, 300, 3, 64, 64), spec);
            p.backward(null, p.state, null);
            Launched last = driver.launches.getLast();
            assertEquals("mlstm_without_last", last.name);
            assertEquals(4, last.gridX, "900 gates of a batch row");
            assertEquals(2, last.gridY);
            assertTrue(last.address(216) != 0);
            assertEquals(0, driver.launches.get(1).address(72), "the normaliser's gradient is ignored");
        }
    }

    @Test
    @SuppressWarnings("try")
    void areLeftOutWithoutTheToolkitsHeadersAndWhenSwitchedOff() {
        try (CudaBackend engine = open(null)) {
            assertTrue(nvrtc.compiled.stream().noneMatch(p -> p.name().equals("mlstm_forward.cu")), engine.describe());
        }
        try (Setting changed = Setting.of(TensorCores.PROPERTY, "general");
                CudaBackend engine = open(headers)) {
            assertTrue(nvrtc.compiled.stream().noneMatch(p -> p.name().equals("mlstm_forward.cu")), engine.describe());
        }
        try (Setting changed = Setting.of(TensorCores.PROPERTY, "sometimes")) {
            assertThrows(IllegalArgumentException.class, () -> open(headers));
        }
    }

    @Test
    void areCompiledForTheirTypeAndTiling() {
        try (CudaBackend engine = open(headers)) {
            List<List<String>> forward = nvrtc.compiled.stream()
                    .filter(c -> c.name().equals("mlstm_forward.cu"))
                    .map(ScriptedNvrtc.Program::options)
                    .toList();
            assertEquals(3, forward.size(), "two tilings in bf16, one in fp32");
            assertTrue(
                    forward.stream()
                            .anyMatch(o -> o.containsAll(
                                    List.of("-DLRAM_FP32", "-DLRAM_WARPS=5", "-DLRAM_GROUPS=10", "-DLRAM_BLOCKS=1"))),
                    forward.toString());
            assertTrue(
                    forward.stream()
                            .anyMatch(o -> !o.contains("-DLRAM_FP32")
                                    && o.containsAll(List.of("-DLRAM_WARPS=5", "-DLRAM_BLOCKS=3"))),
                    forward.toString());
            assertEquals("cuda:0", engine.name());
        }
    }
}
