package ai.lram.bench.latency;

import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.bench.Benchmark;
import ai.lram.bench.Distribution;
import ai.lram.bench.Latencies;
import ai.lram.bench.Run;
import ai.lram.bench.TemporaryFolder;
import ai.lram.bench.latency.LatencySettings.Transport;
import ai.lram.bench.machine.Waits;
import ai.lram.bench.subject.Shapes;
import ai.lram.runtime.LramRuntime;
import ai.lram.runtime.RuntimeSettings;
import ai.lram.runtime.scripted.LinearFeedbackPolicy;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * What actors and gRPC cost beyond the model's step: round trips of 26 values there and 26 back under a policy that costs next to nothing,
 * without a pause ({@code -busy}) and at a fixed rate ({@code -paced}), beside bare sockets and bare thread wake-ups.
 */
public final class BridgeBench implements Benchmark {
    /** Its name in results. */
    public static final String NAME = "bridge";

    private static final int SIZE = 26;
    /** An observation of {@link #SIZE} floats with its sequence number, times and frame, about. */
    private static final int MESSAGE_BYTES = 160;

    private static final int REPETITIONS = 5;
    private static final double RATE_HZ = 500;

    private final int times;
    private final double seconds;

    /** @param quick few round trips, for trying out */
    public BridgeBench(boolean quick) {
        times = quick ? 200 : 20_000;
        seconds = quick ? 0.1 : 10;
    }

    @Override
    public String name() {
        return NAME;
    }

    @Override
    public String measures() {
        return "what actors and gRPC add to the model's step: hops, round trips over TCP and Unix sockets";
    }

    @Override
    public void run(Run run) {
        hops(run);
        Map<Transport, Double> busyFloors = new EnumMap<>(Transport.class);
        Map<Transport, Double> pacedFloors = new EnumMap<>(Transport.class);
        sockets(run, busyFloors, pacedFloors);
        TaskCard task = Shapes.vector("bridge", SIZE, SIZE, RATE_HZ);
        ModelCard card = Shapes.card(task);
        try (LramRuntime runtime = LramRuntime.start(
                        () -> new LinearFeedbackPolicy(card, 1, 1, 1),
                        RuntimeSettings.load().withMaxSessions(1),
                        Optional.empty(),
                        LramRuntime.Environment.system());
                Ways ways = new Ways(runtime)) {
            for (Transport transport : Transport.values()) {
                try (Robot robot = ways.robot(task, transport)) {
                    String what = transport == Transport.LOCAL
                            ? "session and inference actors, no network; floor: the hops of a step"
                            : "gRPC and actors; floor: a bare socket; goal: 0.15 ms, p99 0.5 ms";
                    measure(
                            run,
                            transport.toString(),
                            robot,
                            task,
                            busyFloors.get(transport),
                            pacedFloors.get(transport),
                            what);
                }
            }
        }
    }

    private void hops(Run run) {
        run.progress("actor hops");
        Latencies spinning = Waits.wakeUp(times, 1, false);
        Latencies parked = Waits.wakeUp(Math.max(100, times / 10), 1, true);
        try (Hops hops = new Hops()) {
            hops.busy(times, 1);
            run.distribution(
                    new Distribution(NAME, "hop-busy", hops.busy(times, REPETITIONS)),
                    spinning.ms(50),
                    Double.NaN,
                    "a message between the session's and the inference thread without a pause; floor: a bare hand-off; goal: 0.005 ms");
            run.distribution(
                    new Distribution(NAME, "hop-idle", hops.idle(Math.max(50, times / 10), REPETITIONS)),
                    parked.ms(50),
                    Double.NaN,
                    "the same to a thread that sleeps; floor: a bare wake-up");
        }
    }

    private void sockets(Run run, Map<Transport, Double> busyFloors, Map<Transport, Double> pacedFloors) {
        TaskCard task = Shapes.vector("bare", SIZE, SIZE, RATE_HZ);
        try (TemporaryFolder folder = TemporaryFolder.create("a socket of the benchmark")) {
            for (Transport transport : List.of(Transport.TCP, Transport.UNIX)) {
                try (Robot robot = transport == Transport.TCP
                        ? BareSocket.tcp(MESSAGE_BYTES)
                        : BareSocket.unix(folder.path().resolve("s"), MESSAGE_BYTES)) {
                    String name = "bare-" + transport;
                    measure(run, name, robot, task, Double.NaN, Double.NaN, "a socket and a thread that echoes");
                }
            }
        }
        for (Distribution d : run.distributions()) {
            if (d.bench().equals(NAME)) {
                switch (d.caseName()) {
                    case "bare-tcp-busy" -> busyFloors.put(Transport.TCP, d.ms(50));
                    case "bare-unix-busy" -> busyFloors.put(Transport.UNIX, d.ms(50));
                    case "bare-tcp-paced" -> pacedFloors.put(Transport.TCP, d.ms(50));
                    case "bare-unix-paced" -> pacedFloors.put(Transport.UNIX, d.ms(50));
                    case "hop-busy" -> busyFloors.put(Transport.LOCAL, HOPS * d.ms(50));
                    case "hop-idle" -> pacedFloors.put(Transport.LOCAL, HOPS * d.ms(50));
                    default -> {
                        // Not a floor.
                    }
                }
            }
        }
    }

    /** A local step goes from the robot to its session, to the inference thread, back to the session and back to the robot. */
    private static final int HOPS = 4;

    private void measure(
            Run run, String name, Robot robot, TaskCard task, double busyFloor, double pacedFloor, String note) {
        run.progress(name + " round trips");
        Source source = Source.drawn(task, 1);
        PacedLoop loop = new PacedLoop(robot, source, PacedLoop.Clock.SYSTEM);
        loop.hurry(times / 2, 0);
        Latencies busy = new Latencies(times, REPETITIONS);
        for (int i = 0; i < times; i++) {
            long begin = System.nanoTime();
            loop.hurry(1, 0);
            busy.record(System.nanoTime() - begin);
        }
        long periodNs = Math.round(1e9 / RATE_HZ);
        long steps = Math.max(1, Math.round(seconds * RATE_HZ));
        // Compilers work on for some seconds after the hurry, on the processors that are measured.
        long warmUpNs = System.nanoTime() + periodNs;
        loop.run(warmUpNs, periodNs, steps / 2, warmUpNs + 2 * steps * periodNs, new LoopLog(steps, periodNs));
        LoopLog log = new LoopLog(steps, periodNs);
        long startNs = System.nanoTime() + periodNs;
        loop.run(startNs, periodNs, steps, startNs + 3 * steps * periodNs, log);
        run.distribution(new Distribution(NAME, name + "-busy", busy), busyFloor, Double.NaN, note);
        run.distribution(
                new Distribution(NAME, name + "-paced", log.roundTrip()),
                pacedFloor,
                Double.NaN,
                note + "; at " + (int) RATE_HZ + " Hz, from sending on");
    }
}
