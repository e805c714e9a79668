package ai.lram.agent.train;

import ai.lram.agent.autodiff.Value;
import ai.lram.backend.Backend;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.HashMap;
import java.util.Map;

/**
 * Host memory beside the inputs and results of a plan: what is sent and fetched is queued on the engine's stream, and nothing waits. A value
 * may be sent again, and what was fetched may be read, once the stream has been waited for. Single thread.
 */
public final class Exchange implements AutoCloseable {
    private final Backend backend;
    private final Arena arena = Arena.ofShared();
    private final Map<Value, MemorySegment> memory = new HashMap<>();

    public Exchange(Backend backend) {
        this.backend = backend;
    }

    private MemorySegment of(Value v) {
        return memory.computeIfAbsent(
                v, x -> arena.allocate(x.size() * x.dtype().bytes(), 64));
    }

    private void send(Value v, MemorySegment from) {
        backend.upload(backend.stream(), v.tensor(), from);
    }

    /** Queues the copy of all elements of an F32 value. */
    public void send(Value v, float[] a) {
        MemorySegment m = of(v);
        MemorySegment.copy(a, 0, m, ValueLayout.JAVA_FLOAT, 0, a.length);
        send(v, m);
    }

    /** Of an I32 value. */
    public void send(Value v, int[] a) {
        MemorySegment m = of(v);
        MemorySegment.copy(a, 0, m, ValueLayout.JAVA_INT, 0, a.length);
        send(v, m);
    }

    /** Of a U8 value. */
    public void send(Value v, byte[] a) {
        MemorySegment m = of(v);
        MemorySegment.copy(a, 0, m, ValueLayout.JAVA_BYTE, 0, a.length);
        send(v, m);
    }

    /** Queues the copy of a kept F32 value to the host. */
    public void fetch(Value v) {
        backend.download(backend.stream(), v.tensor(), of(v));
    }

    /** Element {@code i} of what was fetched. */
    public float fetched(Value v, int i) {
        return of(v).getAtIndex(ValueLayout.JAVA_FLOAT, i);
    }

    @Override
    public void close() {
        arena.close();
    }
}
