package ai.lram.agent.testing;

import ai.lram.backend.Backend;
import ai.lram.backend.DType;
import ai.lram.backend.DeviceOutOfMemoryException;
import ai.lram.backend.Tensor;
import ai.lram.backend.TensorArena;
import ai.lram.backend.testing.ForwardingBackend;
import java.util.ArrayList;
import java.util.List;

/** An engine whose memory ends after a number of allocations, and which knows the arenas still open. */
public final class ScarceMemory implements ForwardingBackend {
    private final Backend engine;
    private final List<String> open = new ArrayList<>();
    private int left = Integer.MAX_VALUE;
    private int allocations;

    public ScarceMemory(Backend engine) {
        this.engine = engine;
    }

    /** Lets {@code count} more allocations pass and fails those after them. */
    public void failAfter(int count) {
        left = count;
    }

    /** Allocations that passed. */
    public int allocations() {
        return allocations;
    }

    /** Names of arenas that are not closed. */
    public List<String> open() {
        return List.copyOf(open);
    }

    @Override
    public Backend engine() {
        return engine;
    }

    @Override
    public TensorArena arena(String name) {
        open.add(name);
        return new Counted(engine.arena(name));
    }

    /** Leaves the engine to its owner. */
    @Override
    public void close() {}

    private final class Counted implements TensorArena {
        private final TensorArena arena;

        Counted(TensorArena arena) {
            this.arena = arena;
        }

        @Override
        public String name() {
            return arena.name();
        }

        @Override
        public Tensor allocate(DType dtype, int... shape) {
            count();
            return arena.allocate(dtype, shape);
        }

        @Override
        public Tensor hostVisible(DType dtype, int... shape) {
            count();
            return arena.hostVisible(dtype, shape);
        }

        private void count() {
            if (left == 0) {
                throw new DeviceOutOfMemoryException(
                        "arena " + name() + " cannot allocate", "the test's memory is used up", "expect this");
            }
            left--;
            allocations++;
        }

        @Override
        public TensorArena child(String name) {
            return new Counted(arena.child(name));
        }

        @Override
        public long liveBytes() {
            return arena.liveBytes();
        }

        @Override
        public String dump() {
            return arena.dump();
        }

        @Override
        public void close() {
            open.remove(name());
            arena.close();
        }
    }
}
