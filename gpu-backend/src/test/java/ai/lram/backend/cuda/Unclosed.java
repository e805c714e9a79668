package ai.lram.backend.cuda;

import ai.lram.backend.Backend;
import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.TensorArena;
import ai.lram.backend.ops.Ops;
import java.lang.foreign.MemorySegment;

/** An engine that many tests share: closing waits for it and leaves it open. */
record Unclosed(Backend engine) implements Backend {
    @Override
    public String name() {
        return engine.name();
    }

    @Override
    public String describe() {
        return engine.describe();
    }

    @Override
    public Ops ops() {
        return engine.ops();
    }

    @Override
    public Stream stream() {
        return engine.stream();
    }

    @Override
    public TensorArena arena(String name) {
        return engine.arena(name);
    }

    @Override
    public void upload(Stream s, Tensor dst, MemorySegment src) {
        engine.upload(s, dst, src);
    }

    @Override
    public void download(Stream s, Tensor src, MemorySegment dst) {
        engine.download(s, src, dst);
    }

    @Override
    public void copy(Stream s, Tensor dst, Tensor src) {
        engine.copy(s, dst, src);
    }

    @Override
    public void requireFinite(Stream s, String what, Tensor x) {
        engine.requireFinite(s, what, x);
    }

    @Override
    public void close() {
        engine.stream().synchronize();
    }
}
