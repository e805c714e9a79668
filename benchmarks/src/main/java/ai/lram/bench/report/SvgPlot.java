package ai.lram.bench.report;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/** Draws charts as SVG text for HTML reports: no fonts, no scripts, no network. */
public final class SvgPlot {
    private static final int WIDTH = 720;
    private static final int HEIGHT = 340;
    private static final int LEFT = 66;
    private static final int RIGHT = 14;
    private static final int TOP = 34;
    private static final int BOTTOM = 46;
    private static final int LEGEND_ROW = 14;
    /** Usual width of a letter. */
    private static final double LETTER = 6.2;

    private static final int TICKS = 6;
    private static final String[] COLOURS = {
        "#1f6fb4", "#d9541e", "#2f9e44", "#8e44ad", "#b8860b", "#c2255c", "#0b7285", "#7a7a7a"
    };

    private SvgPlot() {}

    /** Lines and points over two axes, with a legend below the title. */
    public static String of(Chart chart) {
        double[] x = range(chart, true);
        double[] y = range(chart, false);
        List<String> names = chart.series().stream().map(Chart.Series::name).toList();
        Canvas c = new Canvas(x, y, chart.logX(), chart.logY(), top(names));
        StringBuilder s = c.begin(chart.title(), chart.xLabel(), chart.yLabel());
        c.xTicks(s);
        int n = 0;
        for (Chart.Series series : chart.series()) {
            String colour = COLOURS[n++ % COLOURS.length];
            if (series.style() == Chart.Style.LINE) {
                s.append("<polyline fill='none' stroke='").append(colour).append("' stroke-width='1.6' points='");
                for (int i = 0; i < series.x().length; i++) {
                    s.append(format(c.x(series.x()[i])))
                            .append(',')
                            .append(format(c.y(series.y()[i])))
                            .append(' ');
                }
                s.append("'/>\n");
            } else {
                for (int i = 0; i < series.x().length; i++) {
                    s.append("<circle r='2.5' fill='")
                            .append(colour)
                            .append("' fill-opacity='0.6' cx='")
                            .append(format(c.x(series.x()[i])))
                            .append("' cy='")
                            .append(format(c.y(series.y()[i])))
                            .append("'/>\n");
                }
            }
        }
        legend(s, names);
        return s.append("</svg>\n").toString();
    }

    /**
     * Groups of bars from zero, one group per category.
     *
     * @param names one per bar of a group
     * @param values [name][category], finite
     */
    public static String bars(
            String title, String yLabel, List<String> categories, List<String> names, double[][] values) {
        double low = 0;
        double high = 0;
        for (double[] row : values) {
            for (double v : row) {
                if (!Double.isFinite(v)) {
                    throw new IllegalArgumentException("bars of " + title + " must be finite, got " + v);
                }
                low = Math.min(low, v);
                high = Math.max(high, v);
            }
        }
        Canvas c = new Canvas(new double[] {0, categories.size()}, pad(low, high, false), false, false, top(names));
        StringBuilder s = c.begin(title, "", yLabel);
        double group = c.x(1) - c.x(0);
        double width = 0.8 * group / names.size();
        for (int n = 0; n < names.size(); n++) {
            String colour = COLOURS[n % COLOURS.length];
            for (int k = 0; k < categories.size(); k++) {
                double a = c.y(0);
                double b = c.y(values[n][k]);
                s.append(String.format(
                        Locale.ROOT,
                        "<rect x='%.1f' y='%.1f' width='%.1f' height='%.1f' fill='%s'><title>%s: %s %s</title></rect>%n",
                        c.x(k) + 0.1 * group + n * width,
                        Math.min(a, b),
                        Math.max(width - 1, 1),
                        Math.max(Math.abs(a - b), 0.5),
                        colour,
                        Html.text(categories.get(k)),
                        Html.text(names.get(n)),
                        number(values[n][k])));
            }
        }
        legend(s, names);
        for (int k = 0; k < categories.size(); k++) {
            s.append(String.format(
                    Locale.ROOT,
                    "<text x='%.1f' y='%d' text-anchor='middle'>%s</text>%n",
                    c.x(k) + group / 2,
                    HEIGHT - BOTTOM + 16,
                    Html.text(categories.get(k))));
        }
        return s.append("</svg>\n").toString();
    }

    private static double legendWidth(String name) {
        return 24 + LETTER * name.length();
    }

    /** Where the plot begins below a legend that takes as many rows as it needs. */
    private static int top(List<String> names) {
        int rows = 1;
        double x = LEFT;
        for (String name : names) {
            if (x > LEFT && x + legendWidth(name) > WIDTH) {
                rows++;
                x = LEFT;
            }
            x += legendWidth(name);
        }
        return TOP + (rows - 1) * LEGEND_ROW;
    }

    private static void legend(StringBuilder s, List<String> names) {
        double x = LEFT;
        int y = 22;
        for (int n = 0; n < names.size(); n++) {
            String name = names.get(n);
            if (x > LEFT && x + legendWidth(name) > WIDTH) {
                y += LEGEND_ROW;
                x = LEFT;
            }
            s.append(String.format(
                    Locale.ROOT,
                    "<rect x='%.0f' y='%d' width='10' height='4' fill='%s'/>",
                    x,
                    y,
                    COLOURS[n % COLOURS.length]));
            s.append(String.format(Locale.ROOT, "<text x='%.0f' y='%d'>%s</text>%n", x + 14, y + 6, Html.text(name)));
            x += legendWidth(name);
        }
    }

    private static double[] range(Chart chart, boolean horizontal) {
        double low = Double.POSITIVE_INFINITY;
        double high = Double.NEGATIVE_INFINITY;
        for (Chart.Series s : chart.series()) {
            for (double v : horizontal ? s.x() : s.y()) {
                low = Math.min(low, v);
                high = Math.max(high, v);
            }
        }
        if (horizontal) {
            return new double[] {low, high > low ? high : chart.logX() ? 2 * low : low + 1};
        }
        return pad(low, high, chart.logY());
    }

    private static double[] pad(double low, double high, boolean log) {
        if (log) {
            return new double[] {low / 1.15, high * 1.15};
        }
        double span = high > low ? high - low : Math.max(1e-9, Math.abs(high));
        return new double[] {low == 0 ? 0 : low - 0.05 * span, high == 0 ? 0 : high + 0.05 * span};
    }

    static String number(double v) {
        double a = Math.abs(v);
        if (v == 0) {
            return "0";
        }
        if (a >= 1e5 || a < 1e-3) {
            return String.format(Locale.ROOT, "%.1e", v);
        }
        String s = String.format(Locale.ROOT, a >= 100 ? "%.0f" : a >= 10 ? "%.1f" : a >= 1 ? "%.2f" : "%.4f", v);
        return s.contains(".") ? s.replaceAll("0+$", "").replaceAll("\\.$", "") : s;
    }

    private static String format(double v) {
        return String.format(Locale.ROOT, "%.1f", v);
    }

    private record Canvas(double[] xs, double[] ys, boolean logX, boolean logY, int top) {
        double x(double v) {
            return LEFT + share(v, xs, logX) * (WIDTH - LEFT - RIGHT);
        }

        double y(double v) {
            return HEIGHT - BOTTOM - share(v, ys, logY) * (HEIGHT - top - BOTTOM);
        }

        private static double share(double v, double[] range, boolean log) {
            return log
                    ? (Math.log(v) - Math.log(range[0])) / (Math.log(range[1]) - Math.log(range[0]))
                    : (v - range[0]) / (range[1] - range[0]);
        }

        StringBuilder begin(String title, String xLabel, String yLabel) {
            StringBuilder s = new StringBuilder();
            s.append(String.format(
                    Locale.ROOT,
                    "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 %d %d' role='img' font-size='11' fill='#333'>%n",
                    WIDTH,
                    HEIGHT));
            s.append(String.format(
                    Locale.ROOT,
                    "<text x='%d' y='14' font-size='13' font-weight='600'>%s</text>%n",
                    LEFT,
                    Html.text(title)));
            for (double v : logY ? logTicks(ys) : ticks(ys[0], ys[1])) {
                s.append(String.format(
                        Locale.ROOT,
                        "<line x1='%d' x2='%d' y1='%.1f' y2='%.1f' stroke='#ddd'/>",
                        LEFT,
                        WIDTH - RIGHT,
                        y(v),
                        y(v)));
                s.append(String.format(
                        Locale.ROOT,
                        "<text x='%d' y='%.1f' text-anchor='end'>%s</text>%n",
                        LEFT - 6,
                        y(v) + 4,
                        number(v)));
            }
            s.append(String.format(
                    Locale.ROOT,
                    "<text x='%d' y='%d' text-anchor='middle'>%s</text>%n",
                    (LEFT + WIDTH) / 2,
                    HEIGHT - 10,
                    Html.text(xLabel)));
            s.append(String.format(
                    Locale.ROOT,
                    "<text transform='translate(14 %d) rotate(-90)' text-anchor='middle'>%s</text>%n",
                    HEIGHT / 2,
                    Html.text(yLabel)));
            return s;
        }

        void xTicks(StringBuilder s) {
            for (double v : logX ? logTicks(xs) : ticks(xs[0], xs[1])) {
                s.append(String.format(
                        Locale.ROOT,
                        "<text x='%.1f' y='%d' text-anchor='middle'>%s</text>%n",
                        x(v),
                        HEIGHT - BOTTOM + 16,
                        number(v)));
            }
        }

        private static List<Double> ticks(double low, double high) {
            double raw = (high - low) / TICKS;
            double power = Math.pow(10, Math.floor(Math.log10(raw)));
            double step =
                    raw / power <= 1 ? power : raw / power <= 2 ? 2 * power : raw / power <= 5 ? 5 * power : 10 * power;
            List<Double> at = new ArrayList<>();
            for (long k = (long) Math.ceil(low / step); k * step <= high + 1e-9 * step; k++) {
                at.add(k * step);
            }
            return at;
        }

        private static List<Double> logTicks(double[] range) {
            List<Double> at = new ArrayList<>();
            for (int power = (int) Math.floor(Math.log10(range[0]));
                    power <= Math.ceil(Math.log10(range[1]));
                    power++) {
                for (int m : new int[] {1, 2, 5}) {
                    double v = m * Math.pow(10, power);
                    if (v >= range[0] && v <= range[1]) {
                        at.add(v);
                    }
                }
            }
            return at;
        }
    }
}
