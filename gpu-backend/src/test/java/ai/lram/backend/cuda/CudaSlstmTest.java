package ai.lram.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import ai.lram.backend.Tensor;
import ai.lram.backend.contract.Fixture;
import ai.lram.backend.ops.SlstmOps;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Which scan takes a head: the one that keeps its matrix on chip, where it fits. */
class CudaSlstmTest {
    @ParameterizedTest(name = "{0} units, {1} KiB, {2}")
    @CsvSource({
        "1,227,auto,_32",
        "32,227,auto,_32",
        "33,227,auto,_64",
        "64,99,auto,_64",
        "65,227,auto,_128",
        "128,163,auto,_128",
        "128,99,auto,''",
        "129,227,auto,''",
        "16,227,general,''"
    })
    @SuppressWarnings("try")
    void theMatrixStaysOnChipWhereItFits(int dim, int kilobytes, String wanted, String kind) {
        Emulator.requireCompiler();
        EmulatedDriver driver = new EmulatedDriver();
        driver.sharedBytes = kilobytes << 10;
        try (Setting set = Setting.of(CudaSlstm.PROPERTY, wanted);
                CudaBackend engine = Emulator.open(driver);
                Fixture fx = new Fixture(engine)) {
            SlstmOps ops = fx.ops.slstm();
            Tensor x = fx.zeros(1, 2, dim);
            Tensor r = fx.zeros(1, dim, 4, dim);
            Tensor bias = fx.zeros(4, dim);
            Tensor saved = fx.zeros((int) ops.savedFloats(1, 2, 1, dim));
            Tensor scratch = fx.zeros((int) ops.scratchFloats(1, 2, 1, dim));
            driver.launches.clear();
            ops.forward(fx.stream, 1, x, x, x, x, r, bias, null, x, null, saved, scratch);
            ops.backward(fx.stream, 1, r, null, x, saved, x, null, x, x, x, x, null, r, bias, scratch);
            assertEquals("slstm_forward" + kind, driver.launches.get(0));
            assertEquals("slstm_backward" + kind, driver.launches.get(1));
            assertEquals("slstm_weight_sums", driver.launches.get(2));
        }
    }

    @Test
    @SuppressWarnings("try")
    void anUnknownSettingIsRefused() {
        Emulator.requireCompiler();
        try (Setting set = Setting.of(CudaSlstm.PROPERTY, "sometimes")) {
            assertThrows(IllegalArgumentException.class, Emulator::open);
        }
    }
}
