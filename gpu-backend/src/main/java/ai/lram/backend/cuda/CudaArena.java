package ai.lram.backend.cuda;

import ai.lram.backend.ArenaClosedException;
import ai.lram.backend.DType;
import ai.lram.backend.DeviceOutOfMemoryException;
import ai.lram.backend.Tensor;
import ai.lram.backend.TensorArena;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Device memory in slabs that never move: tensors are cut from a slab one after the other, 256-byte aligned, and end with the arena. A slab
 * is cleared once, when it is taken, and no byte is handed out twice. A request larger than the next slab gets one of its own, and so does
 * every request of page-locked memory.
 */
@SuppressWarnings("restricted")
final class CudaArena implements TensorArena {
    static final long ALIGNMENT = 256;
    static final long FIRST_SLAB = 1L << 20;
    static final long LARGEST_SLAB = 64L << 20;

    private static final Logger LOG = LoggerFactory.getLogger(CudaArena.class);

    private record Slab(long address, long bytes) {}

    private final Engine engine;

    private final String name;
    private final CudaArena parent;
    private final List<CudaArena> children = new ArrayList<>();
    private final List<Slab> slabs = new ArrayList<>();
    private final List<Engine.Mapped> mapped = new ArrayList<>();

    /** Ends the segments over page-locked memory; null until there are some. */
    private Arena views;

    private long nextSlab = FIRST_SLAB;
    private long at;
    private long end;
    private long bytes;
    private long reserved;
    private volatile boolean closed;

    CudaArena(Engine engine, String name, CudaArena parent) {
        this.engine = engine;
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
        long address = place(Math.max(n, 1));
        bytes += n;
        return Tensor.device(dtype, address, () -> !closed, shape);
    }

    @Override
    public synchronized Tensor hostVisible(DType dtype, int... shape) {
        requireOpen();
        long n = Math.multiplyExact(Tensor.sizeOf(shape), (long) dtype.bytes());
        long taken = align(Math.max(n, 1));
        Engine.Mapped memory;
        try {
            memory = engine.allocateMapped(taken);
        } catch (DeviceOutOfMemoryException e) {
            throw exhausted(taken + " bytes of page-locked memory", e);
        }
        mapped.add(memory);
        if (views == null) {
            views = Arena.ofShared();
        }
        MemorySegment all = MemorySegment.ofAddress(memory.host()).reinterpret(taken, views, null);
        all.fill((byte) 0);
        bytes += n;
        return Tensor.mapped(dtype, all.asSlice(0, n), memory.device(), () -> !closed, shape);
    }

    private DeviceOutOfMemoryException exhausted(String what, DeviceOutOfMemoryException cause) {
        return new DeviceOutOfMemoryException(
                "arena " + name + " cannot take " + what + "; live now: " + liveBytes() + " bytes here",
                cause.getMessage(),
                "use a smaller model, batch or number of slots",
                cause);
    }

    private long place(long n) {
        if (end - at >= n) {
            long address = at;
            at = align(at + n);
            return address;
        }
        if (n > nextSlab / 2) {
            return slab(align(n)).address; // the slab in use keeps its rest
        }
        Slab s = slab(nextSlab);
        nextSlab = Math.min(2 * nextSlab, LARGEST_SLAB);
        at = align(s.address + n);
        end = s.address + s.bytes;
        return s.address;
    }

    private static long align(long n) {
        return (n + ALIGNMENT - 1) & -ALIGNMENT;
    }

    private Slab slab(long size) {
        long address;
        try {
            address = engine.allocate(size);
        } catch (DeviceOutOfMemoryException e) {
            throw exhausted(size + " bytes", e);
        }
        Slab s = new Slab(address, size);
        slabs.add(s);
        reserved += size;
        return s;
    }

    @Override
    public synchronized TensorArena child(String childName) {
        requireOpen();
        CudaArena c = new CudaArena(engine, childName, this);
        children.add(c);
        return c;
    }

    @Override
    public synchronized long liveBytes() {
        long n = bytes;
        for (CudaArena c : children) {
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
        b.append("  ".repeat(depth))
                .append(name)
                .append(' ')
                .append(bytes)
                .append(" bytes (")
                .append(slabs.size())
                .append(" slabs, ")
                .append(reserved)
                .append(" bytes taken)\n");
        for (CudaArena c : children) {
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
        for (CudaArena c : children) {
            c.release();
        }
        children.clear();
        for (Slab s : slabs) {
            engine.free(s.address);
        }
        slabs.clear();
        try {
            if (views != null) {
                views.close();
            }
        } catch (IllegalStateException e) {
            LOG.warn("{}: page-locked memory was in use when its arena closed: {}", name, e.getMessage());
        } finally {
            mapped.forEach(engine::free);
            mapped.clear();
        }
        bytes = 0;
        reserved = 0;
        at = 0;
        end = 0;
        return true;
    }

    private synchronized void forget(CudaArena child) {
        children.remove(child);
    }

    boolean isClosed() {
        return closed;
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
