package ai.lram.backend.testing;

import ai.lram.backend.Backend;
import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.TensorArena;
import ai.lram.backend.ops.Ops;
import java.lang.foreign.MemorySegment;
import java.util.OptionalLong;

/** An engine that hands everything on to another: a test overrides what it wants to be different. */
public interface ForwardingBackend extends Backend {
    /** The engine that does the work. */
    Backend engine();

    @Override
    default String name() {
        return engine().name();
    }

    @Override
    default String describe() {
        return engine().describe();
    }

    @Override
    default Ops ops() {
        return engine().ops();
    }

    @Override
    default Stream stream() {
        return engine().stream();
    }

    @Override
    default TensorArena arena(String name) {
        return engine().arena(name);
    }

    @Override
    default void upload(Stream s, Tensor dst, MemorySegment src) {
        engine().upload(s, dst, src);
    }

    @Override
    default void download(Stream s, Tensor src, MemorySegment dst) {
        engine().download(s, src, dst);
    }

    @Override
    default void copy(Stream s, Tensor dst, Tensor src) {
        engine().copy(s, dst, src);
    }

    @Override
    default OptionalLong freeBytes() {
        return engine().freeBytes();
    }

    @Override
    default void requireFinite(Stream s, String what, Tensor x) {
        engine().requireFinite(s, what, x);
    }

    @Override
    default void close() {
        engine().close();
    }
}
