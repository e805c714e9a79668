package ai.lram.bench.latency;

import ai.lram.agent.engine.EngineChoice;
import ai.lram.agent.policy.Policy;
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
import java.util.Comparator;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicReference;

/**
 * Observation in, action out, at a fixed rate. Cases are named {@code TARGET-ctxC-Ks-TRANSPORT}: K robots on evenly spread phases, C steps
 * behind each. The target names the engine where that is not the CPU; the same loop on the CPU is then its peer. {@code TARGET-first-step} is the
 * first step that a server serves after it was ready, over p99 of those that follow.
 */
public final class LatencyBench implements Benchmark {
    /** Its name in results. */
    public static final String NAME = "latency";

    /** A case that cannot keep its rate ends after this many times its length. */
    private static final double PATIENCE = 3;

    private static final long BREATH_NS = 50_000_000;
    /** The first case of a run is warmed up this many times as long: it is the one that finds nothing compiled. */
    private static final int FIRST = 5;
    /** Seconds of a policy's warm-up for each of a session's. */
    private static final int POLICY = 3;

    private final LatencySettings settings;
    /** Of all loops measured so far, by engine. */
    private final Map<String, Map<String, LoopLog>> logs = new LinkedHashMap<>();

    /** The first step of every target's server. */
    private final Map<String, PacedLoop.Timed> firsts = new HashMap<>();

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
            if (!t.engine().equals(Engines.CUDA)) {
                Memory.require(
                        t.name() + " with " + slots + " sessions", t.bytes().apply(slots));
            }
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
        if (!settings.remark().isEmpty()) {
            run.note(settings.remark());
        }
        List<List<String>> split = new ArrayList<>();
        for (Target target : settings.targets()) {
            run.progress("start " + target.name());
            AtomicReference<String> engine = new AtomicReference<>("");
            try (LramRuntime runtime = LramRuntime.start(
                            () -> open(target, slots, engine),
                            RuntimeSettings.load().withMaxSessions(slots),
                            Optional.empty(),
                            LramRuntime.Environment.system());
                    Ways ways = new Ways(runtime)) {
                if (target.engine().equals(EngineChoice.AUTO)) {
                    run.note(target.name() + ": " + engine.get());
                }
                for (Transport transport : settings.transports()) {
                    for (int sessions : settings.sessions()) {
                        measure(run, target, ways, transport, sessions, split);
                    }
                }
                reportFirst(run, target);
            }
        }
        besideEachOther(run);
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

    private Policy open(Target target, int slots, AtomicReference<String> engine) {
        EngineChoice.Effort usual = EngineChoice.Effort.usual();
        long warmUpNs = (long) (1e9 * POLICY * settings.warmUpSeconds());
        EngineChoice.Chosen chosen = target.open(
                slots, new EngineChoice.Effort(warmUpNs, usual.steps(), Math.min(warmUpNs, usual.longestNs())));
        engine.set(chosen.reason());
        return chosen.policy();
    }

    private void reportFirst(Run run, Target target) {
        String steady = loop(
                target,
                settings.contexts().getFirst(),
                settings.sessions().getFirst(),
                settings.transports().getFirst());
        LoopLog log = logs.get(steady).get(target.engine());
        PacedLoop.Timed first = firsts.get(target.name());
        reportFirst(
                run, target.name() + "-first-step", first.ns(), log.roundTrip(), steady + ", observation to action");
        reportFirst(
                run,
                target.name() + "-first-step-policy",
                first.stepNs(),
                log.part(LoopLog.Part.STEP),
                steady + ", the policy alone");
    }

    private static void reportFirst(Run run, String name, long ns, Latencies steady, String what) {
        if (steady.count() > 0) {
            run.result(Result.of(NAME, name, ns / 1e6 / steady.ms(99), "x", Better.LOWER, 1)
                    .withNote(String.format(
                            Locale.ROOT,
                            "the first step served, %.3f ms, over p99 of %d of %s, %.3f ms",
                            ns / 1e6,
                            steady.count(),
                            what,
                            steady.ms(99))));
        }
    }

    private static String loop(Target target, int context, int sessions, Transport transport) {
        return target.loop() + "-ctx" + context + "-" + sessions + "s-" + transport;
    }

    /** A row for each loop that was measured on several engines. */
    private void besideEachOther(Run run) {
        Set<String> engines = new LinkedHashSet<>();
        logs.values().forEach(byEngine -> engines.addAll(byEngine.keySet()));
        List<List<String>> rows = new ArrayList<>();
        logs.forEach((loop, byEngine) -> {
            if (byEngine.size() > 1) {
                List<String> row = new ArrayList<>(List.of(loop));
                for (String engine : engines) {
                    Latencies total =
                            byEngine.containsKey(engine) ? byEngine.get(engine).total() : null;
                    row.add(total == null ? "" : String.format(Locale.ROOT, "%.3f / %.3f", total.ms(50), total.ms(99)));
                }
                row.add(byEngine.entrySet().stream()
                        .min(Comparator.comparingDouble(
                                e -> e.getValue().total().ms(50)))
                        .orElseThrow()
                        .getKey());
                rows.add(row);
            }
        });
        if (!rows.isEmpty()) {
            List<String> header = new ArrayList<>(List.of("engines side by side, p50 / p99, ms"));
            header.addAll(engines);
            header.add("lower p50");
            run.table(new Run.Table(NAME, "the same loops on every engine", header, rows));
        }
    }

    private static String plain(double v) {
        return v == Math.rint(v) ? String.valueOf((long) v) : String.valueOf(v);
    }

    private static Source source(Target target, long seed) {
        return target.environment().map(id -> Source.live(id, seed)).orElseGet(() -> Source.drawn(target.task(), seed));
    }

    private void measure(
            Run run, Target target, Ways ways, Transport transport, int sessions, List<List<String>> split) {
        try (Closing robots = new Closing()) {
            List<PacedLoop> loops = new ArrayList<>();
            for (int i = 0; i < sessions; i++) {
                Robot robot = ways.robot(target.task(), transport);
                robots.add(robot::close);
                long seed = 1 + i;
                loops.add(new PacedLoop(robot, source(target, seed), PacedLoop.Clock.SYSTEM));
            }
            firsts.computeIfAbsent(target.name(), t -> loops.getFirst().timed());
            double warmUp = settings.warmUpSeconds() * (warm ? 1 : FIRST);
            inParallel(loops, (loop, i) -> {
                loop.hurry(0, System.nanoTime() + (long) (1e9 * warmUp));
                loop.restart();
            });
            warm = true;
            for (int context : settings.contexts()) {
                String caseOnAny = loop(target, context, sessions, transport);
                String name = target.name() + caseOnAny.substring(target.loop().length());
                run.progress(name);
                inParallel(loops, (loop, i) -> loop.advanceTo(context));
                LoopLog log = paced(loops);
                Map<String, LoopLog> byEngine = logs.computeIfAbsent(caseOnAny, l -> new LinkedHashMap<>());
                Optional<Latencies> cpu =
                        Optional.ofNullable(byEngine.get(Engines.CPU)).map(LoopLog::total);
                byEngine.put(target.engine(), log);
                report(run, name, log, cpu, split);
            }
        }
    }

    private LoopLog paced(List<PacedLoop> loops) {
        long periodNs = Math.max(1, Math.round(1e9 / settings.rateHz()));
        long steps = Math.max(1, Math.round(settings.seconds() * settings.rateHz()));
        long startNs = System.nanoTime() + BREATH_NS;
        long giveUpNs = startNs + (long) (1e9 * PATIENCE * settings.seconds());
        LoopLog[] each = new LoopLog[loops.size()];
        inParallel(loops, (loop, i) -> {
            each[i] = new LoopLog(steps, periodNs);
            loop.run(startNs + i * periodNs / loops.size(), periodNs, steps, giveUpNs, each[i]);
        });
        for (int i = 1; i < each.length; i++) {
            each[0].add(each[i]);
        }
        return each[0];
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

    private void report(Run run, String name, LoopLog log, Optional<Latencies> cpu, List<List<String>> split) {
        double stepMs = log.part(LoopLog.Part.STEP).ms(50);
        String verdict = (log.keepsTheRate() ? "keeps " : "does not keep ") + plain(settings.rateHz()) + " Hz";
        run.distribution(
                new Distribution(NAME, name, log.total()),
                stepMs > 0 ? stepMs : Double.NaN,
                cpu,
                verdict + "; floor: the policy's own step in this loop"
                        + (cpu.isPresent() ? "; peer: the same loop on the CPU" : ""));
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
