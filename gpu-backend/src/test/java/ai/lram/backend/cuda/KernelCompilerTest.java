package ai.lram.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.backend.BackendException.Severity;
import ai.lram.backend.KernelLaunchException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class KernelCompilerTest {
    private final ScriptedNvrtc nvrtc = new ScriptedNvrtc();
    private final CubinCache none = new CubinCache(null, 0);

    private KernelCompiler compiler(Path headers) {
        return new KernelCompiler(nvrtc, "sm_90a", headers, none);
    }

    @Test
    void sourcesAreResourcesWithTheirHeaders() {
        KernelSource source = KernelSource.load("elementwise");
        assertTrue(source.text().contains("LRAM_KERNEL(activation"), "the text of the file");
        assertEquals(List.of("lram_common.cuh"), List.copyOf(source.headers().keySet()));
        assertFalse(source.needsToolkit());
        KernelSource tensorCores = KernelSource.load("mlstm_forward");
        assertEquals(
                List.of("mlstm_common.cuh"), List.copyOf(tensorCores.headers().keySet()));
        assertTrue(tensorCores.needsToolkit(), "it includes cuda_bf16.h");
    }

    @Test
    void aSourceThatIsNotThereIsNamed() {
        KernelLaunchException e = assertThrows(KernelLaunchException.class, () -> KernelSource.load("nothing"));
        assertTrue(e.getMessage().contains("nothing.cu"), e.getMessage());
    }

    @Test
    void theCompilerGetsTheDeviceTheLanguageAndTheHeaders() {
        byte[] cubin = compiler(null).compile(KernelSource.load("norm"), List.of("LRAM_FP32", "LRAM_GROUPS=6"));
        ScriptedNvrtc.Program p = nvrtc.compiled.getFirst();
        assertEquals("norm.cu", p.name());
        assertEquals(
                List.of(
                        "--gpu-architecture=sm_90a",
                        "--std=c++17",
                        "--device-as-default-execution-space",
                        "-DLRAM_FP32",
                        "-DLRAM_GROUPS=6"),
                p.options());
        assertEquals(List.of("lram_common.cuh"), p.headerNames());
        assertTrue(p.headers().getFirst().contains("blockSum"));
        assertEquals("cubin of " + p, new String(cubin, StandardCharsets.UTF_8));
        assertEquals(Map.of(), nvrtc.live, "the program is destroyed");
    }

    @Test
    void theToolkitsHeadersAreGivenToThoseThatNeedThem(@TempDir Path dir) throws IOException {
        Files.writeString(dir.resolve("cuda_bf16.h"), "");
        Files.writeString(dir.resolve("cuda_bf16.hpp"), "");
        assertFalse(compiler(null).canCompile(KernelSource.load("mlstm_forward")));
        assertTrue(compiler(null).canCompile(KernelSource.load("norm")));
        compiler(dir).compile(KernelSource.load("mlstm_forward"), List.of());
        assertTrue(nvrtc.compiled.getFirst().options().contains("--include-path=" + dir));
    }

    @Test
    void aFailureCarriesTheCompilersLog() {
        nvrtc.compileStatus = Nvrtc.COMPILATION;
        nvrtc.log = "norm.cu(3): error: expected a \";\"";
        KernelLaunchException e = assertThrows(
                KernelLaunchException.class, () -> compiler(null).compile(KernelSource.load("norm"), List.of()));
        assertTrue(e.getMessage().contains("compiling norm.cu for sm_90a"), e.getMessage());
        assertTrue(e.getMessage().contains("expected a \";\""), e.getMessage());
        assertEquals(Severity.STOP, e.severity());
        assertEquals(Map.of(), nvrtc.live, "the program is destroyed");
    }

    @Test
    void missingBuiltinsAreToldApart() {
        nvrtc.compileStatus = Nvrtc.BUILTIN_OPERATION_FAILURE;
        KernelLaunchException e = assertThrows(
                KernelLaunchException.class, () -> compiler(null).compile(KernelSource.load("norm"), List.of()));
        assertTrue(e.getMessage().contains("libnvrtc-builtins"), e.getMessage());
    }

    @Test
    void headersAreFoundWhereTheEnvironmentSays(@TempDir Path dir) throws IOException {
        ScriptedMachine machine = new ScriptedMachine();
        machine.environment.put("LRAM_CUDA_INCLUDE", dir.toString());
        Files.writeString(dir.resolve("cuda_bf16.h"), "");
        assertEquals(dir, KernelCompiler.findToolkitHeaders(machine));
    }
}
