package ai.lram.bench;

/**
 * One measured number. NaN stands for what is absent.
 *
 * @param bench name of the benchmark
 * @param caseName what was measured, e.g. {@code step-16m-fp32-2t-p99}; unique within the benchmark
 * @param value the number, in {@code unit}
 * @param unit of value, floor, peer, low and high
 * @param better which direction is the better one
 * @param floor what no implementation on this machine can beat: a lower bound of a time, an upper one of a rate; NaN if unknown
 * @param peer the same of an alternative, measured in the same run unless the note says where; NaN if none was
 * @param samples measurements behind the number; at least 1
 * @param low lowest value among repetitions within the run; NaN if there was one
 * @param high highest value among them; NaN likewise
 * @param note what a reader must know, e.g. which peer; empty for nothing
 */
public record Result(
        String bench,
        String caseName,
        double value,
        String unit,
        Better better,
        double floor,
        double peer,
        long samples,
        double low,
        double high,
        String note) {
    public Result {
        if (bench.isBlank() || caseName.isBlank() || samples < 1 || !(low <= high) && !Double.isNaN(low + high)) {
            throw new IllegalArgumentException("result " + bench + "/" + caseName + " with " + samples
                    + " samples, low=" + low + " high=" + high + "; name it, count >= 1, low <= high");
        }
    }

    /** A number without floor, peer and spread. */
    public static Result of(String bench, String caseName, double value, String unit, Better better, long samples) {
        return new Result(
                bench, caseName, value, unit, better, Double.NaN, Double.NaN, samples, Double.NaN, Double.NaN, "");
    }

    public Result withFloor(double newFloor) {
        return new Result(bench, caseName, value, unit, better, newFloor, peer, samples, low, high, note);
    }

    public Result withPeer(double newPeer) {
        return new Result(bench, caseName, value, unit, better, floor, newPeer, samples, low, high, note);
    }

    public Result withSpread(double newLow, double newHigh) {
        return new Result(bench, caseName, value, unit, better, floor, peer, samples, newLow, newHigh, note);
    }

    public Result withNote(String newNote) {
        return new Result(bench, caseName, value, unit, better, floor, peer, samples, low, high, newNote);
    }

    /** Value divided by floor: 1 is perfect, a time lies above, a rate below. NaN without a floor. */
    public double ratio() {
        return floor == 0 ? Double.NaN : value / floor;
    }

    /** How many times better than the peer; below 1 where the peer is better. NaN without a peer. */
    public double advantage() {
        return better == Better.LOWER ? peer / value : value / peer;
    }
}
