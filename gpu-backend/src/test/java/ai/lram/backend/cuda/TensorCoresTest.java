package ai.lram.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.backend.Tensor;
import ai.lram.backend.TensorArena;
import ai.lram.backend.ops.MlstmDims;
import ai.lram.backend.ops.MlstmOps;
import ai.lram.backend.ops.MlstmSpec;
import ai.lram.backend.ops.MlstmState;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Which calls of the mLSTM go to the kernels on tensor cores. */
class TensorCoresTest {
    private static final class Noting extends ScriptedDriver {
        final Map<Long, String> names = new HashMap<>();
        final List<String> launches = new ArrayList<>();

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
            launches.add(names.get(function));
            return SUCCESS;
        }
    }

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
                driver, nvrtc, new ScriptedCublasLt(), Device.read(driver, 0), folder, new CubinCache(null, 0));
    }

    @ParameterizedTest(name = "{0} S={1} d={2} chunk={3} state={4}: forward {5}, backward {6}")
    @CsvSource({
        "fast,150,256,0,false,mlstm_forward,mlstm_gates",
        "fast,96,64,0,false,mlstm_forward,mlstm_backward",
        "auto,96,64,0,false,mlstm_forward,mlstm_gates",
        "fast,161,64,0,false,mlstm_gates,mlstm_gates",
        "fast,64,33,0,false,mlstm_gates,mlstm_gates",
        "fast,64,64,20,false,mlstm_gates,mlstm_gates",
        "fast,64,64,0,true,mlstm_gates,mlstm_gates"
    })
    @SuppressWarnings("try")
    void takeTheCallsThatFitThem(
            String wanted, int tokens, int dim, int chunk, boolean state, String forward, String backward) {
        MlstmDims d = new MlstmDims(1, tokens, 2, dim, dim);
        MlstmSpec spec = MlstmSpec.exponential().withChunk(chunk);
        try (Setting set = Setting.of(TensorCores.PROPERTY, wanted);
                CudaBackend engine = open(headers);
                TensorArena arena = engine.arena("test")) {
            MlstmOps ops = engine.ops().mlstm();
            Tensor x = arena.f32(1, tokens, 2, dim);
            Tensor g = arena.f32(1, tokens, 2);
            MlstmState initial =
                    state ? new MlstmState(arena.f32(2 * dim * dim), arena.f32(2 * dim), arena.f32(2)) : null;
            Tensor saved = arena.f32((int) ops.savedFloats(d, spec));
            Tensor scratch = arena.f32((int) ops.scratchFloats(d, spec));
            driver.launches.clear();
            ops.forward(engine.stream(), d, spec, x, x, x, g, g, initial, x, null, saved, scratch);
            assertEquals(forward, driver.launches.getFirst());
            driver.launches.clear();
            ops.backward(
                    engine.stream(), d, spec, x, x, x, g, g, initial, x, saved, x, null, x, x, x, g, g, null, scratch);
            assertEquals(backward, driver.launches.getFirst());
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
    void areCompiledForFp32() {
        try (CudaBackend engine = open(headers)) {
            ScriptedNvrtc.Program p = nvrtc.compiled.stream()
                    .filter(c -> c.name().equals("mlstm_forward.cu"))
                    .findFirst()
                    .orElseThrow();
            assertTrue(
                    p.options().containsAll(List.of("-DLRAM_FP32", "-DLRAM_STAGES=2")),
                    p.options().toString());
            assertEquals("cuda:0", engine.name());
        }
    }
}
