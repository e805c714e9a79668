package ai.lram.backend.cpu;

import java.util.concurrent.atomic.AtomicInteger;

/** Independent units of work that need scratch memory of their thread. */
final class Units {
    private Units() {}

    /** One unit; {@code slot} is below the number given to {@link #run} and no other unit has it meanwhile. */
    @FunctionalInterface
    interface Task {
        void run(int unit, int slot);
    }

    /** Scratch slots that {@link #run} uses for that many units. */
    static int slots(Workers workers, long units) {
        return (int) Math.min(workers.threads(), Math.max(1, units));
    }

    /** Runs units 0..n-1; each thread takes the next one when it is free. */
    static void run(Workers workers, int n, Task task) {
        AtomicInteger next = new AtomicInteger();
        workers.forRange(slots(workers, n), 1, (from, to) -> {
            for (int slot = from; slot < to; slot++) {
                for (int unit = next.getAndIncrement(); unit < n; unit = next.getAndIncrement()) {
                    task.run(unit, slot);
                }
            }
        });
    }
}
