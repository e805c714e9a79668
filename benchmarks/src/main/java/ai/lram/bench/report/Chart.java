package ai.lram.bench.report;

import java.util.List;

/**
 * What a plot shows.
 *
 * @param title above the plot
 * @param xLabel quantity and unit of the horizontal axis
 * @param yLabel quantity and unit of the vertical axis
 * @param logX logarithmic horizontal axis; values must then be > 0
 * @param logY logarithmic vertical axis; values must then be > 0
 * @param series lines or point clouds, all over the same axes
 */
public record Chart(String title, String xLabel, String yLabel, boolean logX, boolean logY, List<Series> series) {
    public Chart {
        series = List.copyOf(series);
        if (series.isEmpty()) {
            throw new IllegalArgumentException("chart " + title + " shows nothing; add a series");
        }
        for (Series s : series) {
            requireFits(logX, s, s.x);
            requireFits(logY, s, s.y);
        }
    }

    /** A linear horizontal axis. */
    public Chart(String title, String xLabel, String yLabel, boolean logY, List<Series> series) {
        this(title, xLabel, yLabel, false, logY, series);
    }

    private static void requireFits(boolean log, Series s, double[] values) {
        for (double v : values) {
            if (log && !(v > 0)) {
                throw new IllegalArgumentException(
                        "series " + s.name + " holds " + v + "; a logarithmic axis needs values > 0");
            }
        }
    }

    /** How a series is drawn. */
    public enum Style {
        LINE,
        POINTS
    }

    /**
     * Points in the order in which a line joins them. The arrays are not copied.
     *
     * @param name in the legend
     * @param x finite numbers, as many as {@code y}, at least one
     * @param y finite numbers
     */
    public record Series(String name, Style style, double[] x, double[] y) {
        public Series {
            if (x.length != y.length || x.length == 0) {
                throw new IllegalArgumentException("series " + name + " has " + x.length + " x and " + y.length
                        + " y; give as many, at least one");
            }
            for (int i = 0; i < x.length; i++) {
                if (!Double.isFinite(x[i]) || !Double.isFinite(y[i])) {
                    throw new IllegalArgumentException(
                            "series " + name + " holds a point that is not finite: " + x[i] + ", " + y[i]);
                }
            }
        }

        public static Series line(String name, double[] x, double[] y) {
            return new Series(name, Style.LINE, x, y);
        }

        /** The same series as a line through means of consecutive points, at most {@code count} of them. */
        public Series smoothed(String newName, int count) {
            int n = Math.min(count, x.length);
            double[] mx = new double[n];
            double[] my = new double[n];
            for (int i = 0; i < n; i++) {
                int from = (int) ((long) i * x.length / n);
                int to = (int) ((long) (i + 1) * x.length / n);
                for (int j = from; j < to; j++) {
                    mx[i] += x[j] / (to - from);
                    my[i] += y[j] / (to - from);
                }
            }
            return new Series(newName, Style.LINE, mx, my);
        }
    }
}
