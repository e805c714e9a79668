package ai.lram.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;

import ai.lram.backend.contract.Fixture;
import java.util.Map;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;

/** A fresh engine for each test whose kernels run on the host; afterwards nothing may be left of it. */
abstract class OnEmulator {
    EmulatedDriver driver;
    CudaBackend engine;
    Fixture fx;

    @BeforeEach
    void open() {
        Emulator.requireCompiler();
        driver = new EmulatedDriver();
        engine = Emulator.open(driver);
        fx = new Fixture(engine);
    }

    @AfterEach
    void close() {
        if (engine != null) {
            fx.close();
            engine.close();
            assertEquals(Map.of(), driver.leaks());
        }
    }
}
