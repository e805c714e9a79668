package ai.lram.backend.cuda;

import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import java.util.function.Supplier;
import org.junit.jupiter.api.extension.AfterAllCallback;
import org.junit.jupiter.api.extension.BeforeAllCallback;
import org.junit.jupiter.api.extension.ExtensionContext;

/**
 * One engine for all tests of a class and of those nested in it, as a static field with {@code RegisterExtension}: opening takes seconds where
 * kernels are compiled.
 */
final class SharedEngine implements BeforeAllCallback, AfterAllCallback {
    private final Supplier<Backend> opening;
    private Backend engine;
    private Class<?> opened;

    private SharedEngine(Supplier<Backend> opening) {
        this.opening = opening;
    }

    /** Kernels run by the host; tests are skipped, saying so, where that cannot be. */
    static SharedEngine emulated() {
        return new SharedEngine(() -> {
            Emulator.requireCompiler();
            return Emulator.open();
        });
    }

    /** A real device. */
    static SharedEngine onDevice() {
        return new SharedEngine(() -> new CudaBackendProvider().open(BackendOptions.defaults()));
    }

    /** The same, opened under a system property. */
    @SuppressWarnings("try")
    SharedEngine with(String property, String value) {
        return new SharedEngine(() -> {
            try (Setting changed = Setting.of(property, value)) {
                return opening.get();
            }
        });
    }

    /** The engine; closing it waits for it and leaves it open. */
    Backend unclosed() {
        return new Unclosed(engine);
    }

    @Override
    public void beforeAll(ExtensionContext context) {
        if (opened == null) {
            opened = context.getRequiredTestClass();
            engine = opening.get();
        }
    }

    @Override
    public void afterAll(ExtensionContext context) {
        if (opened == context.getRequiredTestClass() && engine != null) {
            engine.close();
        }
    }
}
