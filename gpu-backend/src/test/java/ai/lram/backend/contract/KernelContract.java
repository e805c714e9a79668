package ai.lram.backend.contract;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import ai.lram.backend.Backend;
import ai.lram.backend.ShapeMismatchException;
import ai.lram.backend.Tensor;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;

/** An open engine for each test of a kernel family. */
public abstract class KernelContract {
    /** Of the largest reference value; what one kernel may lose in fp32. */
    protected static final double TOLERANCE = 5e-7;

    protected Backend backend;
    protected Fixture fx;

    protected abstract Backend openBackend();

    @BeforeEach
    void open() {
        backend = openBackend();
        fx = new Fixture(backend);
    }

    @AfterEach
    void close() {
        fx.close();
        backend.close();
    }

    /** The call is refused, at once or by the device that runs it, and leaves every output as it is. */
    protected final void assertRefused(Runnable call, Tensor... outputs) {
        List<float[]> before = new ArrayList<>();
        for (Tensor t : outputs) {
            before.add(fx.read(t));
        }
        assertThrows(ShapeMismatchException.class, () -> {
            call.run();
            fx.stream.synchronize();
        });
        for (int i = 0; i < outputs.length; i++) {
            assertArrayEquals(before.get(i), fx.read(outputs[i]), "output " + i + " was written");
        }
    }
}
