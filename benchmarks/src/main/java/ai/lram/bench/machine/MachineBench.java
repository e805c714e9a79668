package ai.lram.bench.machine;

import ai.lram.bench.Benchmark;
import ai.lram.bench.Better;
import ai.lram.bench.Distribution;
import ai.lram.bench.Latencies;
import ai.lram.bench.Memory;
import ai.lram.bench.Result;
import ai.lram.bench.Run;
import java.util.List;

/** The machine's ceilings, each beside what bounds it in turn. */
public final class MachineBench implements Benchmark {
    /** Its name in results. */
    public static final String NAME = "machine";

    private static final int REPETITIONS = 5;
    private static final double CONTROL_MS = 1;

    private final List<Integer> threads;
    private final boolean quick;

    /** @param threads numbers of threads to measure with */
    public MachineBench(List<Integer> threads, boolean quick) {
        this.threads = List.copyOf(threads);
        this.quick = quick;
    }

    @Override
    public String name() {
        return NAME;
    }

    @Override
    public String measures() {
        return "what this machine can do at best: bytes/s from caches and memory, multiply-adds/s, clock, wake-ups, noise";
    }

    @Override
    public void require() {
        Memory.require("the memory bandwidth test", Ceilings.readingBytes(Long.MAX_VALUE));
    }

    @Override
    public void run(Run run) {
        require();
        Ceilings ceilings = run.shared(Ceilings.class, () -> new Ceilings(quick));
        run.progress("clock and arithmetic");
        Ceilings.Rate clock = ceilings.clock();
        run.result(
                rate("clock", clock, 1e9, "GHz")
                        .withNote(
                                "from a chain of 64-bit multiplications and exclusive ors, 4 cycles a turn; floors below follow from it"));
        for (int t : threads) {
            run.result(rate("fma-" + t + "t", ceilings.fma(t), 1e9, "GFLOP/s")
                    .withFloor(ceilings.fmaLimit(t) / 1e9)
                    .withNote("fp32; floor: two FMA units of this vector width a core"));
        }
        bandwidths(run, ceilings);
        waits(run);
        control(run);
        if (!ceilings.caches().known()) {
            run.note("the system does not tell its cache sizes: "
                    + Memory.text(ceilings.caches().l2Bytes()) + " and "
                    + Memory.text(ceilings.caches().l3Bytes()) + " are assumed");
        }
    }

    private static Result rate(String name, Ceilings.Rate r, double unit, String unitName) {
        return Result.of(NAME, name, r.best() / unit, unitName, Better.HIGHER, r.repetitions())
                .withSpread(r.worst() / unit, r.best() / unit);
    }

    private void bandwidths(Run run, Ceilings ceilings) {
        for (int t : threads) {
            run.progress("bandwidths, " + t + (t == 1 ? " thread" : " threads"));
            Ceilings.Rate l2 = ceilings.read(t * ceilings.l2Bytes(), t);
            Ceilings.Rate l3 = ceilings.read(ceilings.l3Bytes(t), t);
            Ceilings.Rate memory = ceilings.read(ceilings.memoryBytes(), t);
            run.result(rate("read-l2-" + t + "t", l2, 1e9, "GB/s")
                    .withFloor(ceilings.l2Limit(t) / 1e9)
                    .withNote(Memory.text(ceilings.l2Bytes()) + " a thread; floor: 64 bytes a cycle and core"));
            run.result(rate("read-l3-" + t + "t", l3, 1e9, "GB/s")
                    .withFloor(l2.best() / 1e9)
                    .withNote(Memory.text(ceilings.l3Bytes(t)) + " in all; floor: the level above"));
            run.result(rate("read-memory-" + t + "t", memory, 1e9, "GB/s")
                    .withFloor(l3.best() / 1e9)
                    .withNote(Memory.text(ceilings.memoryBytes()) + " in all; floor: the level above"));
        }
    }

    private void waits(Run run) {
        run.progress("timers and wake-ups");
        int readings = quick ? 100_000 : 2_000_000;
        Waits.readingNs(readings);
        run.result(Result.of(
                NAME, "clock-granularity", Waits.granularityNs(readings / 20), "ns", Better.LOWER, readings / 20));
        run.result(Result.of(NAME, "clock-reading", Waits.readingNs(readings), "ns", Better.LOWER, readings));
        int times = quick ? 200 : 10_000;
        Waits.wakeUp(times, 1, false);
        Latencies spinning = Waits.wakeUp(times, REPETITIONS, false);
        Latencies parked = Waits.wakeUp(times, REPETITIONS, true);
        Latencies sleeping = Waits.oversleep(quick ? 50 : 2_000, REPETITIONS);
        run.distribution(
                new Distribution(NAME, "handoff-spinning", spinning),
                Double.NaN,
                Double.NaN,
                "from a write until a spinning thread sees it");
        run.distribution(
                new Distribution(NAME, "wake-up", parked),
                spinning.ms(50),
                Double.NaN,
                "from unpark until the parked thread runs; floor: the spinning hand-off");
        run.distribution(
                new Distribution(NAME, "oversleep", sleeping),
                parked.ms(50),
                Double.NaN,
                "how much longer than 1 ms a sleep of 1 ms takes; floor: a wake-up");
    }

    private void control(Run run) {
        int times = quick ? 100 : 5_000;
        for (int t : threads) {
            run.progress("noise, " + t + (t == 1 ? " thread" : " threads"));
            Latencies latencies = new Latencies(times, REPETITIONS);
            try (Control control = new Control(t, CONTROL_MS)) {
                control.measure(times / 10, new Latencies(times, 1));
                control.measure(times, latencies);
            }
            run.distribution(
                    new Distribution(NAME, "control-" + t + "t", latencies),
                    latencies.minMs(),
                    Double.NaN,
                    "fixed work on registers: its spread is the machine's noise; floor: the fastest one");
        }
    }
}
