package ai.lram.backend.cpu;

import ai.lram.backend.ArenaClosedException;
import ai.lram.backend.DType;
import ai.lram.backend.DeviceOutOfMemoryException;
import ai.lram.backend.Tensor;
import ai.lram.backend.TensorArena;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;

/** Native host memory, 64-byte aligned. */
final class CpuArena implements TensorArena {
    private static final long ALIGNMENT = 64;

    private final String name;
    private final CpuArena parent;
    private final Arena memory = Arena.ofShared();
    private final List<CpuArena> children = new ArrayList<>();
    private long bytes;
    private boolean closed;

    CpuArena(String name, CpuArena parent) {
        this.name = name;
        this.parent = parent;
    }

    @Override
    public String name() {
        return name;
    }

    @Override
    public synchronized Tensor allocate(DType dtype, int... shape) {
        requireOpen();
        long n = Math.multiplyExact(Tensor.sizeOf(shape), (long) dtype.bytes());
        MemorySegment m;
        try {
            m = memory.allocate(Math.max(n, 1), ALIGNMENT);
        } catch (OutOfMemoryError e) {
            throw new DeviceOutOfMemoryException(
                    "arena " + name + " cannot allocate " + n + " bytes",
                    "the process has no more native memory",
                    "use a smaller model, batch or number of slots; live now: " + liveBytes() + " bytes here",
                    e);
        }
        bytes += n;
        return Tensor.host(dtype, m.byteSize() == n ? m : m.asSlice(0, n), shape);
    }

    @Override
    public Tensor hostVisible(DType dtype, int... shape) {
        return allocate(dtype, shape);
    }

    @Override
    public synchronized TensorArena child(String childName) {
        requireOpen();
        CpuArena c = new CpuArena(childName, this);
        children.add(c);
        return c;
    }

    @Override
    public synchronized long liveBytes() {
        long n = bytes;
        for (CpuArena c : children) {
            n += c.liveBytes();
        }
        return n;
    }

    @Override
    public synchronized String dump() {
        StringBuilder b = new StringBuilder();
        dump(b, 0);
        return b.toString();
    }

    private synchronized void dump(StringBuilder b, int depth) {
        b.append("  ".repeat(depth)).append(name).append(' ').append(bytes).append(" bytes\n");
        for (CpuArena c : children) {
            c.dump(b, depth + 1);
        }
    }

    @Override
    public void close() {
        if (release() && parent != null) {
            parent.forget(this);
        }
    }

    private synchronized boolean release() {
        if (closed) {
            return false;
        }
        closed = true;
        for (CpuArena c : children) {
            c.release();
        }
        children.clear();
        memory.close();
        bytes = 0;
        return true;
    }

    private synchronized void forget(CpuArena child) {
        children.remove(child);
    }

    private void requireOpen() {
        if (closed) {
            throw new ArenaClosedException(
                    "arena " + name + " is closed",
                    "memory was asked from it afterwards",
                    "keep the arena open as long as its model or session");
        }
    }
}
