package ai.lram.agent.testing;

import ai.lram.backend.Backend;
import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.testing.ForwardingBackend;
import java.lang.foreign.MemorySegment;

/** An engine that does not record: its kernels are queued one by one, always. Closing leaves it open. */
public record Unrecorded(Backend engine) implements ForwardingBackend {
    @Override
    public Stream stream() {
        return new Plain(this);
    }

    private record Plain(Unrecorded backend) implements Stream {
        @Override
        public void synchronize() {
            backend.engine.stream().synchronize();
        }
    }

    @Override
    public void upload(Stream s, Tensor dst, MemorySegment src) {
        engine.upload(engine.stream(), dst, src);
    }

    @Override
    public void download(Stream s, Tensor src, MemorySegment dst) {
        engine.download(engine.stream(), src, dst);
    }

    @Override
    public void copy(Stream s, Tensor dst, Tensor src) {
        engine.copy(engine.stream(), dst, src);
    }

    @Override
    public void requireFinite(Stream s, String what, Tensor x) {
        engine.requireFinite(engine.stream(), what, x);
    }

    @Override
    public void close() {
        engine.stream().synchronize();
    }
}
