package ai.lram.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertDoesNotThrow;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.backend.BackendException;
import ai.lram.backend.BackendException.Severity;
import ai.lram.backend.BackendUnavailableException;
import ai.lram.backend.DeviceLostException;
import ai.lram.backend.DeviceOutOfMemoryException;
import ai.lram.backend.KernelLaunchException;
import ai.lram.backend.UnsupportedKernelException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Every status of the driver is a typed error whose severity tells a supervisor what to do next. */
class StatusTest {
    private final ScriptedDriver driver = new ScriptedDriver();

    private BackendException error(int status) {
        return assertThrows(BackendException.class, () -> Status.check(driver, status, "the call"));
    }

    @Test
    void successIsNoError() {
        assertDoesNotThrow(() -> Status.check(driver, 0, "the call"));
        assertDoesNotThrow(() -> Status.checkCublas(0, "the call"));
    }

    @Test
    void outOfMemoryIsAReasonToGoOnWithLess() {
        assertInstanceOf(DeviceOutOfMemoryException.class, error(2));
        assertEquals(Severity.DEGRADE, error(2).severity());
    }

    @ParameterizedTest
    @ValueSource(ints = {4, 214, 220, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 999})
    void aBrokenContextIsALostDevice(int status) {
        assertInstanceOf(DeviceLostException.class, error(status));
        assertEquals(Severity.STOP, error(status).severity());
    }

    @ParameterizedTest
    @ValueSource(ints = {3, 34, 36, 46, 100, 101, 304, 800, 802, 803, 804})
    void aMachineWithoutWhatIsNeededIsUnavailable(int status) {
        assertInstanceOf(BackendUnavailableException.class, error(status));
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 200, 209, 218, 222, 400, 500, 600, 701, 720, 900, 901, 908, 12345})
    void everyOtherStatusIsAFailedLaunch(int status) {
        assertInstanceOf(KernelLaunchException.class, error(status));
        assertEquals(Severity.STOP, error(status).severity());
    }

    @Test
    void theMessageHoldsWhatWhyAndFix() {
        String message = error(2).getMessage();
        assertTrue(message.startsWith("the call; why: the driver answered STATUS_2 (2); fix: "), message);
    }

    @Test
    void cublasErrorsAreTyped() {
        assertThrows(DeviceOutOfMemoryException.class, () -> Status.checkCublas(3, "product"));
        assertThrows(DeviceLostException.class, () -> Status.checkCublas(13, "product"));
        assertThrows(UnsupportedKernelException.class, () -> Status.checkCublas(15, "product"));
        assertThrows(KernelLaunchException.class, () -> Status.checkCublas(7, "product"));
    }
}
