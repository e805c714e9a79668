package ai.lram.agent.autodiff;

import ai.lram.backend.Backend;
import ai.lram.backend.Replay;
import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.TensorArena;
import ai.lram.backend.ops.Ops;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * A recording with every value placed in one slab: replayed with {@link #run}, it allocates nothing and its addresses are stable. Single
 * thread: the one that queues on the backend's stream.
 */
public final class Plan implements AutoCloseable {
    private final Ops ops;
    private final Stream stream;
    private final Tape.Step[] steps;
    private final TensorArena arena;
    private final Tensor slab;
    private boolean warm;
    private Replay replay;

    Plan(Backend backend, List<Tape.Step> steps, TensorArena arena, Tensor slab) {
        this.ops = backend.ops();
        this.stream = backend.stream();
        this.steps = steps.toArray(Tape.Step[]::new);
        this.arena = arena;
        this.slab = slab;
    }

    /**
     * Queues every recorded kernel in order. The first run queues them one by one, so that the engine prepares what it needs for these
     * shapes; from the second on they are one recording of the stream, on a device a single graph launch.
     */
    public void run() {
        if (!warm) {
            warm = true;
            queue();
            return;
        }
        if (replay == null) {
            replay = stream.record(this::queue);
        }
        replay.run();
    }

    /** Queues every recorded kernel in order, one by one: for a recording that holds more than this plan. */
    public void queue() {
        for (Tape.Step step : steps) {
            step.launch().run(ops, stream);
        }
    }

    /** Queues every kernel and adds each one's wall time to {@code profile}; waits after each, so only for looking. */
    public void run(Profile profile) {
        for (Tape.Step step : steps) {
            long t = System.nanoTime();
            step.launch().run(ops, stream);
            stream.synchronize();
            profile.add(step.kernel(), System.nanoTime() - t);
        }
    }

    /**
     * Device time of every kernel name, from replays of recordings that hold nothing else: without the cost of launching, and without what
     * kernels gain from each other through the caches.
     */
    public List<KernelTime> kernelTimes(int replays) {
        Map<String, List<Tape.Step>> byKernel = new LinkedHashMap<>();
        for (Tape.Step step : steps) {
            byKernel.computeIfAbsent(step.kernel(), k -> new ArrayList<>()).add(step);
        }
        List<KernelTime> out = new ArrayList<>();
        byKernel.forEach((kernel, own) -> {
            try (Replay only =
                    stream.record(() -> own.forEach(step -> step.launch().run(ops, stream)))) {
                only.run();
                stream.synchronize();
                long t = System.nanoTime();
                for (int i = 0; i < replays; i++) {
                    only.run();
                }
                stream.synchronize();
                double seconds = (System.nanoTime() - t) / 1e9 / replays;
                long bytes = own.stream()
                        .flatMap(step -> Arrays.stream(step.uses()))
                        .mapToLong(v -> v.size() * v.dtype().bytes())
                        .sum();
                out.add(new KernelTime(kernel, own.size(), seconds, bytes));
            }
        });
        out.sort(Comparator.comparingDouble(k -> -k.seconds()));
        return out;
    }

    /**
     * @param kernel its name on the tape
     * @param calls in one replay of the plan
     * @param seconds of all of them
     * @param valueBytes of the values they name, each counted once a call
     */
    public record KernelTime(String kernel, int calls, double seconds, long valueBytes) {}

    /** Bytes of all values that live in the slab. */
    public long slabBytes() {
        return slab.bytes();
    }

    /** Number of kernels per replay. */
    public int kernels() {
        return steps.length;
    }

    @Override
    public void close() {
        if (replay != null) {
            replay.close();
        }
        arena.close();
    }
}
