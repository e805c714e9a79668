package ai.lram.backend.cpu;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.BackendUnavailableException;
import ai.lram.backend.Tensor;
import ai.lram.backend.TensorArena;
import ai.lram.backend.ops.Activation;
import java.io.File;
import java.net.URISyntaxException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.slf4j.Logger;

class GemmChoiceTest {
    @Test
    void anUnknownNameIsRefused() {
        BackendUnavailableException e =
                assertThrows(BackendUnavailableException.class, () -> LibraryMatmul.open("mkl", 1));
        assertTrue(e.getMessage().contains("-Dlram.gemm=mkl"), e.getMessage());
    }

    @Test
    void fewRowsNeverAskALibrary() {
        for (GemmChoice c : GemmChoice.values()) {
            assertEquals(GemmChoice.OWN, c.resolve(GemmChoice.LIBRARY_ROWS - 1));
        }
        assertEquals(GemmChoice.OPENBLAS, GemmChoice.OPENBLAS.resolve(GemmChoice.LIBRARY_ROWS));
        assertEquals(GemmChoice.OWN, GemmChoice.OWN.resolve(4096));
    }

    @Test
    void manyRowsAlwaysResolveToTheSameChoice() {
        GemmChoice first = GemmChoice.AUTO.resolve(4096);
        assertNotEquals(GemmChoice.AUTO, first);
        assertNotEquals(GemmChoice.ND4J, first, "ND4J is used on request only");
        assertEquals(first, GemmChoice.AUTO.resolve(96));
    }

    /** Run in a virtual machine of its own by {@link #aControlStepNeedsNeitherNd4jNorOpenBlas}. */
    public static final class ControlStep {
        public static void main(String[] args) {
            try (Backend b = new CpuBackend(BackendOptions.threads(2));
                    TensorArena arena = b.arena("step")) {
                Tensor y = arena.f32(24, 64);
                b.ops().matmul().linear(b.stream(), arena.f32(24, 32), arena.f32(64, 32), null, Activation.SILU, y);
                System.out.println("finished");
            }
        }
    }

    @Test
    void aControlStepNeedsNeitherNd4jNorOpenBlas() throws Exception {
        Process p = new ProcessBuilder(
                        Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                        "--add-modules=jdk.incubator.vector",
                        "-cp",
                        String.join(
                                File.pathSeparator,
                                placeOf(ControlStep.class),
                                placeOf(CpuBackend.class),
                                placeOf(Logger.class)),
                        ControlStep.class.getName())
                .redirectErrorStream(true)
                .start();
        String out = new String(p.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertEquals(0, p.waitFor(), out);
        assertTrue(out.contains("finished"), out);
    }

    private static String placeOf(Class<?> c) throws URISyntaxException {
        return Path.of(c.getProtectionDomain().getCodeSource().getLocation().toURI())
                .toString();
    }
}
