package ai.lram.cli.scenario;

import ai.lram.bridge.env.EnvironmentRegistry;
import ai.lram.bridge.grpc.ControlClient;
import ai.lram.bridge.grpc.Endpoint;
import ai.lram.cli.config.DemoSettings;
import ai.lram.cli.progress.Progress;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.OptionalDouble;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;
import java.util.function.Function;
import java.util.stream.LongStream;

/** Many simulated robots against one server at once, each with its own session and thread; their periods are spread evenly. */
final class Fleet {
    private static final long SOON_NS = 200_000_000L;
    private static final long LOOK_MS = 100;

    private Fleet() {}

    private record Member(String task, SimulatedRobot robot, List<Long> seeds, long phaseNs) {}

    /**
     * Drives the unseen seeds of every task.
     *
     * @return one log per task, in the order of {@code tasks}
     */
    static List<ControlLog> drive(
            Endpoint endpoint,
            List<String> tasks,
            DemoSettings s,
            Function<String, Progress> progress,
            BooleanSupplier stop) {
        int robots = tasks.size() * s.sessionsPerTask();
        long periodNs = SimulatedRobot.periodNs(s.rateHz());
        List<Long> seeds = LongStream.range(0, s.driveEpisodes())
                .map(i -> EnvironmentRegistry.FIRST_EVALUATION_SEED + i)
                .boxed()
                .toList();
        List<Member> members = new ArrayList<>();
        for (int k = 0; k < s.sessionsPerTask(); k++) {
            for (String task : tasks) {
                List<Long> own = new ArrayList<>();
                for (int i = k; i < seeds.size(); i += s.sessionsPerTask()) {
                    own.add(seeds.get(i));
                }
                if (!own.isEmpty()) {
                    SimulatedRobot robot = new SimulatedRobot(task, OptionalDouble.empty(), false, s.rateHz());
                    members.add(new Member(task, robot, own, members.size() * periodNs / robots));
                }
            }
        }
        AtomicInteger finished = new AtomicInteger();
        int total = tasks.size() * s.driveEpisodes();
        List<ControlLog> logs = new ArrayList<>();
        tasks.forEach(t -> logs.add(new ControlLog(t)));
        try (ControlClient client = ControlClient.connect(endpoint, SimulatedRobot.PATIENT)) {
            try (Progress p = progress.apply("drive")) {
                long first = System.nanoTime() + SOON_NS + (long) (1e9 * s.warmUpSeconds());
                List<ControlLog> own = all(
                        members,
                        m -> m.robot().drive(client, m.seeds(), first + m.phaseNs(), e -> finished.incrementAndGet()),
                        () -> p.update(
                                (double) finished.get() / total,
                                System.nanoTime() < first
                                        ? "warming up"
                                        : finished.get() + " of " + total + " episodes"),
                        stop);
                for (ControlLog log : own) {
                    logs.get(tasks.indexOf(log.task())).add(log);
                }
            }
        }
        return logs;
    }

    /** Runs one job per member on a thread each; the first failure, or {@code stop}, ends all. */
    private static <T> List<T> all(List<Member> members, Function<Member, T> job, Runnable look, BooleanSupplier stop) {
        ExecutorService threads = Executors.newFixedThreadPool(members.size(), r -> {
            Thread t = new Thread(r, "lram-robot");
            t.setDaemon(true);
            return t;
        });
        try {
            List<Future<T>> running = new ArrayList<>();
            for (Member m : members) {
                Callable<T> call = () -> job.apply(m);
                running.add(threads.submit(call));
            }
            List<T> results = new ArrayList<>();
            while (true) {
                look.run();
                if (stop.getAsBoolean()) {
                    return Collections.emptyList();
                }
                for (Future<T> f : running) {
                    if (f.isDone()) {
                        f.get();
                    }
                }
                if (running.stream().allMatch(Future::isDone)) {
                    for (Future<T> f : running) {
                        results.add(f.get());
                    }
                    look.run();
                    return results;
                }
                TimeUnit.MILLISECONDS.sleep(LOOK_MS);
            }
        } catch (ExecutionException e) {
            if (e.getCause() instanceof RuntimeException r) {
                throw r;
            }
            throw new IllegalStateException("a robot's thread failed", e.getCause());
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new DriveException("driving was not finished", "the thread was interrupted", "run it again");
        } finally {
            threads.shutdownNow();
        }
    }
}
