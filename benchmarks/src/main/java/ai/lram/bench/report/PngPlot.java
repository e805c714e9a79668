package ai.lram.bench.report;

import java.awt.Color;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.file.Path;
import org.knowm.xchart.BitmapEncoder;
import org.knowm.xchart.BitmapEncoder.BitmapFormat;
import org.knowm.xchart.XYChart;
import org.knowm.xchart.XYChartBuilder;
import org.knowm.xchart.XYSeries;
import org.knowm.xchart.style.Styler;
import org.knowm.xchart.style.markers.SeriesMarkers;

/** Draws charts as PNG files, without a screen. */
public final class PngPlot {
    private static final int WIDTH = 1000;
    private static final int HEIGHT = 600;

    private PngPlot() {}

    /** @throws ReportException if this system cannot draw text or the file cannot be written */
    public static void write(Path file, Chart chart) {
        System.setProperty("java.awt.headless", "true");
        byte[] png;
        try {
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            BitmapEncoder.saveBitmap(draw(chart), out, BitmapFormat.PNG);
            png = out.toByteArray();
        } catch (IOException | RuntimeException | LinkageError | InternalError e) {
            throw new ReportException(
                    "cannot draw " + file,
                    "drawing text needs the system's font libraries: " + e,
                    "install a font and fontconfig (Debian/Ubuntu: apt-get install fontconfig fonts-dejavu-core)",
                    e);
        }
        ReportFiles.write(file, png);
    }

    private static XYChart draw(Chart chart) {
        XYChart xy = new XYChartBuilder()
                .width(WIDTH)
                .height(HEIGHT)
                .title(chart.title())
                .xAxisTitle(chart.xLabel())
                .yAxisTitle(chart.yLabel())
                .build();
        xy.getStyler().setLegendPosition(Styler.LegendPosition.InsideNE);
        xy.getStyler().setXAxisLogarithmic(chart.logX());
        xy.getStyler().setYAxisLogarithmic(chart.logY());
        xy.getStyler().setChartBackgroundColor(Color.WHITE);
        xy.getStyler().setPlotGridLinesColor(new Color(0xDD, 0xDD, 0xDD));
        for (Chart.Series s : chart.series()) {
            XYSeries drawn = xy.addSeries(s.name(), s.x(), s.y());
            if (s.style() == Chart.Style.LINE) {
                drawn.setMarker(SeriesMarkers.NONE);
            } else {
                drawn.setXYSeriesRenderStyle(XYSeries.XYSeriesRenderStyle.Scatter);
                drawn.setMarker(SeriesMarkers.CIRCLE);
            }
        }
        return xy;
    }
}
