package ai.lram.backend.cuda;

import ai.lram.backend.Backend;
import ai.lram.backend.testing.ForwardingBackend;

/** An engine that many tests share: closing waits for it and leaves it open. */
record Unclosed(Backend engine) implements ForwardingBackend {
    @Override
    public void close() {
        engine.stream().synchronize();
    }
}
