package ai.lram.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.SequencedMap;
import org.junit.jupiter.api.Test;

/** What {@code lram doctor} prints about CUDA. */
class CudaReportTest {
    private final ScriptedMachine machine = new ScriptedMachine();
    private final ScriptedDriver driver = new ScriptedDriver();

    private SequencedMap<String, String> lines() {
        Diagnosis d = new Discovery(
                        machine,
                        new Discovery.Libraries(() -> driver, ScriptedNvrtc::new, ScriptedCublasLt::new),
                        "Linux")
                .run(0);
        d.release().run();
        d.release().run();
        return CudaReport.lines(d, machine);
    }

    @Test
    void showsDeviceDriverLibrariesAndTheVerdict() {
        SequencedMap<String, String> lines = lines();
        assertEquals("usable", lines.get("verdict"));
        assertEquals("/lib/libnvrtc.so.13", lines.get("libnvrtc.so.13"));
        assertTrue(lines.get("device 0").contains("Scripted GPU"), lines.toString());
        assertEquals("speaks CUDA 13.0", lines.get("driver"));
        assertFalse(lines.containsKey("remedy"));
        assertEquals(0, driver.live.get("contexts"), "released once, not twice");
    }

    @Test
    void showsTheCauseAndTheRemedy() {
        machine.libraries.remove("libcublas.so.13");
        SequencedMap<String, String> lines = lines();
        assertTrue(lines.get("verdict").startsWith("LIBRARY_MISSING: libcublas.so.13 is missing"), lines.toString());
        assertEquals("remedy", lines.lastEntry().getKey());
        assertEquals("/lib/libcuda.so.1", lines.get("libcuda.so.1"), "what was found is shown nevertheless");
    }
}
