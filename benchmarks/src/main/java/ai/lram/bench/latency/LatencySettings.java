package ai.lram.bench.latency;

import ai.lram.bench.BenchException;
import ai.lram.bench.subject.LramSubject;
import ai.lram.bench.subject.ModelSize;
import java.util.List;
import java.util.TreeSet;

/**
 * What the control loop is measured with.
 *
 * @param targets tasks and their policies
 * @param transports ways to the runtime
 * @param contexts environment steps that lie behind when measuring begins, ascending
 * @param sessions numbers of robots at once, ascending
 * @param rateHz rate of every robot
 * @param seconds of each case
 * @param warmUpSeconds of each session before it, and of each policy before it is ready
 * @param remark what readers must know of the targets; empty for nothing
 */
public record LatencySettings(
        List<Target> targets,
        List<Transport> transports,
        List<Integer> contexts,
        List<Integer> sessions,
        double rateHz,
        double seconds,
        double warmUpSeconds,
        String remark) {
    private static final int LONGEST_CONTEXT = 1_000_000;
    private static final int MOST_SESSIONS = 256;
    private static final double LONGEST_SECONDS = 86_400;

    /** How a robot reaches the runtime. */
    public enum Transport {
        /** In the runtime's process. */
        LOCAL("local"),
        /** gRPC over TCP on this machine. */
        TCP("tcp"),
        /** gRPC over a Unix domain socket. */
        UNIX("unix");

        private final String key;

        Transport(String key) {
            this.key = key;
        }

        /** As options and case names have it. */
        @Override
        public String toString() {
            return key;
        }

        /** @throws BenchException if there is no such transport */
        public static Transport of(String name) {
            for (Transport t : values()) {
                if (t.key.equals(name)) {
                    return t;
                }
            }
            throw new BenchException("there is no transport " + name, "there are local, tcp and unix", "name one");
        }
    }

    public LatencySettings {
        targets = List.copyOf(targets);
        transports = transports.stream().distinct().toList();
        contexts = List.copyOf(new TreeSet<>(contexts));
        sessions = List.copyOf(new TreeSet<>(sessions));
        if (targets.isEmpty() || transports.isEmpty() || contexts.isEmpty() || sessions.isEmpty()) {
            throw new BenchException(
                    "the control loop is measured with nothing",
                    "targets, transports, contexts or sessions are empty",
                    "name one of each");
        }
        require("context", contexts.getFirst(), 0, LONGEST_CONTEXT);
        require("context", contexts.getLast(), 0, LONGEST_CONTEXT);
        require("sessions", sessions.getFirst(), 1, MOST_SESSIONS);
        require("sessions", sessions.getLast(), 1, MOST_SESSIONS);
        require("seconds", seconds, 0.01, LONGEST_SECONDS);
    }

    private static void require(String what, double value, double low, double high) {
        if (!(value >= low && value <= high)) {
            throw new BenchException(
                    what + " " + plain(value),
                    "it lies in " + plain(low) + ".." + plain(high),
                    "choose a value within these");
        }
    }

    private static String plain(double v) {
        return v == Math.rint(v) ? String.valueOf((long) v) : String.valueOf(v);
    }

    /** Every domain under 16M on every engine, one thread on the CPU; one and four robots at 100 Hz, in process and over TCP. */
    public static LatencySettings defaults(boolean quick) {
        ModelSize size = ModelSize.of(quick ? "1M" : "16M");
        Engines engines = Engines.both();
        return new LatencySettings(
                Domain.all().stream()
                        .flatMap(d -> d.targets(size, LramSubject.WEIGHTS.getFirst(), 1, engines).stream())
                        .toList(),
                List.of(Transport.LOCAL, Transport.TCP),
                List.of(50),
                List.of(1, 4),
                100,
                quick ? 0.2 : 5,
                quick ? 0.05 : 1,
                engines.remark());
    }
}
