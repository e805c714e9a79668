package ai.lram.agent.testing;

import ai.lram.backend.Backend;
import ai.lram.backend.Replay;
import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.testing.ForwardingBackend;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;

/**
 * An engine that records, or seems to, and notes what passes between it and the host but for kernels queued one by one. Closing leaves it
 * open.
 */
public record Launches(Backend engine, List<String> events) implements ForwardingBackend {
    public Launches(Backend engine) {
        this(engine, new ArrayList<>());
    }

    @Override
    public Stream stream() {
        return new Noting(this);
    }

    private record Noting(Launches backend) implements Stream {
        private Stream stream() {
            return backend.engine.stream();
        }

        @Override
        public boolean records() {
            return true;
        }

        @Override
        public void synchronize() {
            backend.events.add("wait");
            stream().synchronize();
        }

        @Override
        public Replay record(Runnable work) {
            backend.events.add("record");
            Replay replay = stream().record(work);
            return new Replay() {
                @Override
                public void run() {
                    backend.events.add("launch");
                    replay.run();
                }

                @Override
                public void finish() {
                    backend.events.add("launch and wait");
                    replay.finish();
                }

                @Override
                public void close() {
                    replay.close();
                }
            };
        }
    }

    @Override
    public void upload(Stream s, Tensor dst, MemorySegment src) {
        events.add("upload");
        engine.upload(engine.stream(), dst, src);
    }

    @Override
    public void download(Stream s, Tensor src, MemorySegment dst) {
        events.add("download");
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
