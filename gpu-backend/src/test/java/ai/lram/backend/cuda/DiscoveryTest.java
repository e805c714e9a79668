package ai.lram.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.backend.cuda.Diagnosis.Cause;
import ai.lram.backend.cuda.Machine.Node;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** Every broken set-up is told apart, with a remedy that names what to do. */
class DiscoveryTest {
    private final ScriptedMachine machine = new ScriptedMachine();
    private final ScriptedDriver driver = new ScriptedDriver();
    private final ScriptedNvrtc nvrtc = new ScriptedNvrtc();
    private final ScriptedCublasLt cublas = new ScriptedCublasLt();
    private String system = "Linux";

    private Diagnosis diagnose() {
        return diagnose(0);
    }

    private Diagnosis diagnose(int ordinal) {
        return new Discovery(machine, new Discovery.Libraries(() -> driver, () -> nvrtc, () -> cublas), system)
                .run(ordinal);
    }

    private static void assertRefused(Cause cause, String why, String fix, Diagnosis got) {
        assertEquals(cause, got.cause(), got.sentence());
        assertTrue(got.why().contains(why), got.sentence());
        assertTrue(got.fix().contains(fix), got.sentence());
        assertFalse(got.usable());
        assertNull(got.device());
    }

    /** A refused device keeps no context. */
    @AfterEach
    void nothingIsHeld() {
        assertEquals(Map.of(), driver.leaks());
    }

    @Test
    void aWholeSetUpIsUsable() {
        Diagnosis d = diagnose();
        assertTrue(d.usable(), d.sentence());
        assertEquals("sm_90a", d.device().architecture());
        String facts = d.facts().toString();
        for (String part : new String[] {
            "libnvrtc.so.13, value=/lib/libnvrtc.so.13",
            "NVRTC, value=13.0",
            "cuBLASLt, value=13.1.0",
            "Scripted GPU, compute capability 9.0, 132 multiprocessors, 80.0 GiB",
            "kernel module, value=580.159.03",
            "driver, value=speaks CUDA 13.0",
            "free memory"
        }) {
            assertTrue(facts.contains(part), part + " in " + facts);
        }
        assertEquals(Map.of("contexts", 1), driver.leaks(), "the context waits for the engine");
        d.release().run();
    }

    @Test
    void noDriver() {
        machine.libraries.remove("libcuda.so.1");
        machine.nodes.clear();
        assertRefused(Cause.NO_DRIVER, "No such file", "install the NVIDIA driver", diagnose());
        assertEquals(0, driver.calls.size(), "the bindings are not touched without a driver");
    }

    @Test
    void aContainerWithoutTheDriversLibrary() {
        machine.libraries.remove("libcuda.so.1");
        assertRefused(Cause.NO_DRIVER, "libcuda.so.1", "--gpus all", diagnose());
    }

    @Test
    void driverTooOld() {
        driver.version = 12080;
        assertRefused(Cause.DRIVER_TOO_OLD, "CUDA 12.8, 13.0 is needed", "580", diagnose());
    }

    @Test
    void driverTooOldForTheLibraryItself() {
        driver.version = 0;
        driver.answers.put("init", 36);
        assertRefused(Cause.DRIVER_TOO_OLD, "(36)", "580", diagnose());
    }

    @Test
    void driverWithoutAnEntryPoint() {
        machine.missingSymbols.add("cuStreamBeginCapture_v2");
        assertRefused(Cause.DRIVER_TOO_OLD, "it lacks cuStreamBeginCapture_v2", "580", diagnose());
        assertEquals(0, driver.calls.size(), "a missing function would end the process");
    }

    @Test
    void noDevice() {
        driver.answers.put("init", 100);
        assertRefused(Cause.NO_DEVICE, "finds no NVIDIA GPU", "nvidia-smi", diagnose());
    }

    @Test
    void driverThatCountsNoDevice() {
        driver.devices = 0;
        assertRefused(Cause.NO_DEVICE, "finds no NVIDIA GPU", "nvidia-smi", diagnose());
    }

    @Test
    void devicesHiddenByTheEnvironment() {
        driver.answers.put("init", 100);
        machine.environment.put("CUDA_VISIBLE_DEVICES", "");
        assertRefused(Cause.DEVICES_HIDDEN, "CUDA_VISIBLE_DEVICES=\"\"", "unset CUDA_VISIBLE_DEVICES", diagnose());
    }

    @Test
    void missingNvrtc() {
        machine.libraries.remove("libnvrtc.so.13");
        assertRefused(Cause.LIBRARY_MISSING, "libnvrtc.so.13 is missing", "LD_LIBRARY_PATH", diagnose());
    }

    @Test
    void missingCublasLt() {
        machine.libraries.remove("libcublasLt.so.13");
        assertRefused(Cause.LIBRARY_MISSING, "libcublasLt.so.13 is missing", "CUDA 13 toolkit", diagnose());
    }

    @Test
    void librariesOfAnotherVersion() {
        machine.libraries.remove("libnvrtc.so.13");
        machine.libraries.add("libnvrtc.so.12");
        assertRefused(Cause.LIBRARY_VERSION, "libnvrtc.so.12 is there, libnvrtc.so.13 is not", "beside", diagnose());
    }

    @Test
    void aLibraryThatSaysItIsAnotherVersion() {
        cublas.version = 120805;
        assertRefused(Cause.LIBRARY_VERSION, "cuBLASLt says it is version 12.8", "LD_LIBRARY_PATH", diagnose());
    }

    @Test
    void aLibraryWithoutAnEntryPoint() {
        machine.missingSymbols.add("nvrtcGetCUBIN");
        assertRefused(Cause.LIBRARY_TOO_OLD, "it lacks nvrtcGetCUBIN", "13.0 or newer", diagnose());
    }

    @Test
    void deviceTooOld() {
        driver.major = 7;
        driver.minor = 5;
        assertRefused(Cause.DEVICE_TOO_OLD, "compute capability 7.5, 8.0 is needed", "Ampere", diagnose());
    }

    @Test
    void deviceTooNewForTheCompiler() {
        driver.major = 13;
        assertRefused(Cause.DEVICE_TOO_NEW, "does not compile for compute capability 13.0", "newer", diagnose());
    }

    @Test
    void noMemoryLeft() {
        driver.freeBytes = 100L << 20;
        assertRefused(Cause.NO_MEMORY, "only 100 MiB of 81920 MiB are free", "nvidia-smi", diagnose());
    }

    @Test
    void noMemoryForAContext() {
        driver.answers.put("retainPrimaryContext", 2);
        assertRefused(Cause.NO_MEMORY, "no memory left for a context", "nvidia-smi", diagnose());
    }

    @Test
    void noPermissionOnTheNodes() {
        driver.answers.put("init", 100);
        machine.nodes.clear();
        machine.nodes.add(new Node("/dev/nvidia0", false, false));
        machine.nodes.add(new Node("/dev/nvidiactl", true, true));
        assertRefused(Cause.NO_PERMISSION, "no permission on /dev/nvidia0;", "group", diagnose());
    }

    @Test
    void kernelModuleOfAnotherVersion() {
        driver.answers.put("init", 803);
        assertRefused(Cause.DRIVER_MISMATCH, "kernel module (580.159.03)", "restart", diagnose());
    }

    @Test
    void theToolkitsStub() {
        driver.version = 0;
        driver.answers.put("init", 34);
        assertRefused(Cause.NO_DRIVER, "stub", "stubs folder", diagnose());
    }

    @Test
    void devicesThatAreNotReady() {
        driver.answers.put("init", 802);
        assertRefused(Cause.DRIVER_NOT_READY, "not ready", "nvidia-fabricmanager", diagnose());
    }

    @Test
    void aDriverThatFailsForUnknownReasons() {
        driver.answers.put("init", 999);
        assertRefused(Cause.DRIVER_FAILED, "(999)", "nvidia_uvm", diagnose());
    }

    @Test
    void aDriverThatFailsLater() {
        driver.answers.put("deviceAttribute", 999);
        assertRefused(Cause.DRIVER_FAILED, "attribute", "dmesg", diagnose());
    }

    @Test
    void aDeviceIndexThatIsNotThere() {
        assertRefused(Cause.NO_SUCH_DEVICE, "no CUDA device 3: the driver shows 1", "below 1", diagnose(3));
    }

    @Test
    void anotherSystem() {
        system = "Mac OS X";
        assertRefused(Cause.NOT_LINUX, "this is Mac OS X", "device=cpu", diagnose());
    }

    @Test
    void bindingsThatDoNotLoad() {
        AtomicInteger tries = new AtomicInteger();
        Diagnosis d = new Discovery(
                        machine,
                        new Discovery.Libraries(
                                () -> {
                                    tries.incrementAndGet();
                                    throw new UnsatisfiedLinkError("no jnicudart in java.library.path");
                                },
                                () -> nvrtc,
                                () -> cublas),
                        system)
                .run(0);
        assertRefused(Cause.BINDINGS, "no jnicudart", "cachedir", d);
        assertEquals(1, tries.get());
    }
}
