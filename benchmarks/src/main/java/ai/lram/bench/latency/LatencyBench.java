package ai.lram.bench.latency;

import ai.lram.bench.BenchException;
import ai.lram.bench.Benchmark;
import ai.lram.bench.Better;
import ai.lram.bench.Distribution;
import ai.lram.bench.Latencies;
import ai.lram.bench.Memory;
import ai.lram.bench.Result;
import ai.lram.bench.Run;
import ai.lram.bench.latency.LatencySettings.Transport;
import ai.lram.runtime.LramRuntime;
import ai.lram.runtime.RuntimeSettings;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/**
 * Observation in, action out, at a fixed rate. Cases are named {@code TARGET-ctxC-Ks-TRANSPORT}: K robots on evenly spread phases, C steps
 * behind each.
 */
public final class LatencyBench implements Benchmark {
    /** Its name in results. */
    public static final String NAME = "latency";

    /** A case that cannot keep its rate ends after this many times its length. */
    private static final double PATIENCE = 3;

    private static final long BREATH_NS = 50_000_000;
    /** The first case of a run is warmed up this many times as long: it is the one that finds nothing compiled. */
    private static final int FIRST = 5;

    private final LatencySettings settings;
    private boolean warm;

    public LatencyBench(LatencySettings settings) {
        this.settings = settings;
    }

    @Override
    public String name() {
        return NAME;
    }

    @Override
    public String measures() {
        return "the whole control loop, observation in to action out, at a fixed rate: every domain's shapes, 1 and N robots, local and gRPC";
    }

    @Override
    public void require() {
        int slots = settings.sessions().getLast();
        for (Target t : settings.targets()) {
            Memory.require(t.name() + " with " + slots + " sessions", t.bytes().apply(slots));
        }
    }

    @Override
    public void run(Run run) {
        require();
        int slots = settings.sessions().getLast();
        run.note(String.format(
                Locale.ROOT,
                "Control loops run at %s Hz. Latency counts from when an observation was due, on a schedule that does not wait for late"
                        + " steps. A rate is kept if at most one step in a thousand took longer than a period.",
                plain(settings.rateHz())));
        List<List<String>> split = new ArrayList<>();
        for (Target target : settings.targets()) {
            run.progress("start " + target.name());
            try (LramRuntime runtime = LramRuntime.start(
                            () -> target.policy().apply(slots),
                            RuntimeSettings.load().withMaxSessions(slots),
                            Optional.empty(),
                            LramRuntime.Environment.system());
                    Ways ways = new Ways(runtime)) {
                for (Transport transport : settings.transports()) {
                    for (int sessions : settings.sessions()) {
                        measure(run, target, ways, transport, sessions, split);
                    }
                }
            }
        }
        List<String> header = new ArrayList<>(List.of("where the time goes, p50 / p99, us"));
        for (LoopLog.Part p : LoopLog.Part.values()) {
            header.add(p.name().toLowerCase(Locale.ROOT));
        }
        run.table(new Run.Table(
                NAME,
                "wake: until the observation is sent; queue: until the policy's thread takes it; encode: into the batch; step: the policy;"
                        + " return: until the reply leaves the runtime; wire: connection there and back and waking the robot",
                header,
                split));
    }

    private static String plain(double v) {
        return v == Math.rint(v) ? String.valueOf((long) v) : String.valueOf(v);
    }

    private void measure(
            Run run, Target target, Ways ways, Transport transport, int sessions, List<List<String>> split) {
        try (Closing robots = new Closing()) {
            List<PacedLoop> loops = new ArrayList<>();
            for (int i = 0; i < sessions; i++) {
                Robot robot = ways.robot(target.task(), transport);
                robots.add(robot::close);
                long seed = 1 + i;
                Source source = target.environment()
                        .map(id -> Source.live(id, seed))
                        .orElseGet(() -> Source.drawn(target.task(), seed));
                loops.add(new PacedLoop(robot, source, PacedLoop.Clock.SYSTEM));
            }
            double warmUp = settings.warmUpSeconds() * (warm ? 1 : FIRST);
            inParallel(loops, (loop, i) -> {
                loop.hurry(0, System.nanoTime() + (long) (1e9 * warmUp));
                loop.restart();
            });
            warm = true;
            for (int context : settings.contexts()) {
                String name = target.name() + "-ctx" + context + "-" + sessions + "s-" + transport;
                run.progress(name);
                inParallel(loops, (loop, i) -> loop.advanceTo(context));
                LoopLog log = paced(loops);
                report(run, name, log, split);
            }
        }
    }

    private LoopLog paced(List<PacedLoop> loops) {
        long periodNs = Math.max(1, Math.round(1e9 / settings.rateHz()));
        long steps = Math.max(1, Math.round(settings.seconds() * settings.rateHz()));
        long startNs = System.nanoTime() + BREATH_NS;
        long giveUpNs = startNs + (long) (1e9 * PATIENCE * settings.seconds());
        LoopLog[] logs = new LoopLog[loops.size()];
        inParallel(loops, (loop, i) -> {
            logs[i] = new LoopLog(steps, periodNs);
            loop.run(startNs + i * periodNs / loops.size(), periodNs, steps, giveUpNs, logs[i]);
        });
        for (int i = 1; i < logs.length; i++) {
            logs[0].add(logs[i]);
        }
        return logs[0];
    }

    /** What every loop does on a thread of its own. */
    private interface Part {
        void run(PacedLoop loop, int number);
    }

    private static void inParallel(List<PacedLoop> loops, Part part) {
        try (ExecutorService threads = Executors.newFixedThreadPool(loops.size())) {
            List<Future<?>> running = new ArrayList<>();
            for (int i = 0; i < loops.size(); i++) {
                int number = i;
                running.add(threads.submit(() -> part.run(loops.get(number), number)));
            }
            for (Future<?> f : running) {
                f.get();
            }
        } catch (ExecutionException e) {
            if (e.getCause() instanceof RuntimeException failure) {
                throw failure;
            }
            throw new IllegalStateException(e.getCause());
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new BenchException("the control loop was not measured", "the thread was interrupted", "run again", e);
        }
    }

    private void report(Run run, String name, LoopLog log, List<List<String>> split) {
        double stepMs = log.part(LoopLog.Part.STEP).ms(50);
        String verdict = (log.keepsTheRate() ? "keeps " : "does not keep ") + plain(settings.rateHz()) + " Hz";
        run.distribution(
                new Distribution(NAME, name, log.total()),
                stepMs > 0 ? stepMs : Double.NaN,
                Double.NaN,
                verdict + "; floor: the policy's own step in this loop");
        long samples = log.total().count();
        run.detail(Result.of(NAME, name + "-late", 100 * log.lateShare(), "%", Better.LOWER, samples)
                .withFloor(0)
                .withNote("share of steps that took longer than a period"));
        run.detail(Result.of(NAME, name + "-verdict", log.keepsTheRate() ? 1 : 0, "pass", Better.HIGHER, samples)
                .withNote(verdict));
        List<String> row = new ArrayList<>(List.of(name + ": " + verdict));
        for (LoopLog.Part p : LoopLog.Part.values()) {
            Latencies l = log.part(p);
            String key = p.name().toLowerCase(Locale.ROOT);
            if (l.count() > 0) {
                run.detail(new Distribution(NAME, name + "-" + key, l).result(50, ""));
                run.detail(new Distribution(NAME, name + "-" + key, l).result(99, "-p99"));
            }
            row.add(l.count() > 0 ? String.format(Locale.ROOT, "%.0f / %.0f", 1e3 * l.ms(50), 1e3 * l.ms(99)) : "");
        }
        split.add(row);
    }
}
