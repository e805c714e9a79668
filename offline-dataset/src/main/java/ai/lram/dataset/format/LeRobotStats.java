package ai.lram.dataset.format;

import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * LeRobot's statistics of one feature, per element: exact for one episode; merged over episodes min, max, mean and std
 * stay exact and quantiles become count-weighted means of the episodes' quantiles.
 */
final class LeRobotStats {
    static final List<String> NAMES = List.of("min", "max", "mean", "std", "count", "q01", "q10", "q50", "q90", "q99");
    private static final double[] QUANTILES = {0.01, 0.1, 0.5, 0.9, 0.99};

    private final Map<String, double[]> values = new LinkedHashMap<>();

    private LeRobotStats(int width) {
        for (String name : NAMES) {
            values.put(name, new double[name.equals("count") ? 1 : width]);
        }
    }

    /** Statistics of (rows, width) values. */
    static LeRobotStats of(double[] data, int width) {
        LeRobotStats stats = new LeRobotStats(width);
        int rows = data.length / width;
        double[] column = new double[rows];
        stats.get("count")[0] = rows;
        for (int element = 0; element < width; element++) {
            double sum = 0;
            for (int row = 0; row < rows; row++) {
                column[row] = data[row * width + element];
                sum += column[row];
            }
            double mean = sum / rows;
            double squares = 0;
            for (double value : column) {
                squares += (value - mean) * (value - mean);
            }
            Arrays.sort(column);
            stats.get("min")[element] = column[0];
            stats.get("max")[element] = column[rows - 1];
            stats.get("mean")[element] = mean;
            stats.get("std")[element] = Math.sqrt(squares / rows);
            for (int q = 0; q < QUANTILES.length; q++) {
                stats.get(NAMES.get(5 + q))[element] = quantile(column, QUANTILES[q]);
            }
        }
        return stats;
    }

    /** Statistics read back from a table; null if a list is missing or has another width. */
    static LeRobotStats ofLists(Map<String, double[]> lists, int width) {
        LeRobotStats stats = new LeRobotStats(width);
        for (String name : NAMES) {
            double[] list = lists.get(name);
            if (list == null || list.length != stats.get(name).length) {
                return null;
            }
            stats.values.put(name, list.clone());
        }
        return stats.get("count")[0] >= 1 ? stats : null;
    }

    double[] get(String name) {
        return values.get(name);
    }

    LeRobotStats mergedWith(LeRobotStats other) {
        int width = get("min").length;
        LeRobotStats merged = new LeRobotStats(width);
        double own = get("count")[0];
        double its = other.get("count")[0];
        double total = own + its;
        merged.get("count")[0] = total;
        for (int i = 0; i < width; i++) {
            merged.get("min")[i] = Math.min(get("min")[i], other.get("min")[i]);
            merged.get("max")[i] = Math.max(get("max")[i], other.get("max")[i]);
            double delta = other.get("mean")[i] - get("mean")[i];
            merged.get("mean")[i] = get("mean")[i] + delta * its / total;
            double squares = own * get("std")[i] * get("std")[i]
                    + its * other.get("std")[i] * other.get("std")[i]
                    + delta * delta * own * its / total;
            merged.get("std")[i] = Math.sqrt(squares / total);
            for (String quantile : NAMES.subList(5, NAMES.size())) {
                merged.get(quantile)[i] = (get(quantile)[i] * own + other.get(quantile)[i] * its) / total;
            }
        }
        return merged;
    }

    private static double quantile(double[] sorted, double q) {
        double place = q * (sorted.length - 1);
        int below = (int) place;
        int above = Math.min(below + 1, sorted.length - 1);
        return sorted[below] + (place - below) * (sorted[above] - sorted[below]);
    }
}
