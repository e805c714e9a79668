package ai.lram.bench.step;

import ai.lram.bench.Latencies;
import ai.lram.bench.Run;
import ai.lram.bench.machine.Ceilings;
import ai.lram.bench.subject.Subject;
import java.util.Locale;

/**
 * One subject under the name of its case. Single thread.
 *
 * @param threads that work on a step
 * @param quick less time for what a floor is measured with
 */
record Stepping(Run run, Subject subject, String name, int threads, boolean quick) {
    /** An alternative's steps are measured for so long, and then no more than {@link #ENOUGH} of them. */
    private static final long LONGEST_NS = 20_000_000_000L;

    private static final int ENOUGH = 200;

    /**
     * Checks the answers, then steps untimed.
     *
     * @return the largest difference that the check found
     */
    double checkAndWarm(double seconds) {
        run.progress("check " + name);
        double difference = subject.check();
        run.progress(String.format(Locale.ROOT, "%s answers as it should within %.1e; warming up", name, difference));
        subject.begin(1, 0);
        for (long until = System.nanoTime() + (long) (1e9 * seconds); System.nanoTime() < until; ) {
            subject.fill();
            subject.step();
        }
        return difference;
    }

    /** Takes a step and says how many nanoseconds it took. */
    long stepNs() {
        return subject.stepNs(name);
    }

    /** So many steps, or fewer where they take long. */
    Latencies steps(int samples) {
        Latencies latencies = new Latencies(samples, StepBench.REPETITIONS);
        long begin = System.nanoTime();
        int enough = Math.min(samples, ENOUGH);
        for (int i = 0; i < samples; i++) {
            if (i >= enough && System.nanoTime() - begin > LONGEST_NS) {
                break;
            }
            latencies.record(stepNs());
        }
        return latencies;
    }

    /** The bytes of a step over the bandwidth measured over as many. */
    double floorMs(int sessions, int context) {
        double bytes = subject.stepBytes(sessions, context);
        return 1e3 * bytes / ceilings().read((long) bytes, threads).best();
    }

    Ceilings ceilings() {
        return run.shared(Ceilings.class, () -> new Ceilings(quick));
    }
}
