package ai.lram.bench.report;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.awt.image.BufferedImage;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import javax.imageio.ImageIO;
import javax.xml.parsers.DocumentBuilderFactory;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.w3c.dom.Document;

class ReportTest {
    @TempDir
    Path temp;

    private static Chart chart() {
        return new Chart(
                "loss <&>",
                "update",
                "nats",
                false,
                List.of(
                        Chart.Series.line("train", new double[] {0, 1, 2}, new double[] {3, 2, 1}),
                        new Chart.Series("validation", Chart.Style.POINTS, new double[] {1}, new double[] {2.5})));
    }

    @Test
    void aPngShowsTheSeries() throws IOException {
        Path file = temp.resolve("new folder/loss.png");
        PngPlot.write(file, chart());
        BufferedImage image = ImageIO.read(file.toFile());
        assertEquals(1000, image.getWidth());
        long coloured = 0;
        for (int x = 0; x < image.getWidth(); x++) {
            for (int y = 0; y < image.getHeight(); y++) {
                int rgb = image.getRGB(x, y);
                int r = rgb >> 16 & 0xFF;
                int b = rgb & 0xFF;
                coloured += Math.abs(r - b) > 60 ? 1 : 0;
            }
        }
        assertTrue(coloured > 200, "coloured pixels: " + coloured);
    }

    @Test
    void anSvgIsWellFormedAndPutsPointsWhereTheyBelong() throws Exception {
        Document svg = xml(SvgPlot.of(chart()));
        String[] points = svg.getElementsByTagName("polyline")
                .item(0)
                .getAttributes()
                .getNamedItem("points")
                .getNodeValue()
                .trim()
                .split(" ");
        assertEquals(3, points.length);
        double x0 = Double.parseDouble(points[0].split(",")[0]);
        double x1 = Double.parseDouble(points[1].split(",")[0]);
        double x2 = Double.parseDouble(points[2].split(",")[0]);
        assertEquals(x2 - x1, x1 - x0, 0.11, "equal steps");
        double y0 = Double.parseDouble(points[0].split(",")[1]);
        double y2 = Double.parseDouble(points[2].split(",")[1]);
        assertTrue(y0 < y2, "larger values are higher up");
        assertEquals(1, svg.getElementsByTagName("circle").getLength());
    }

    @Test
    void barsStandOnZero() throws Exception {
        Document svg = xml(SvgPlot.bars(
                "returns", "return", List.of("a", "b"), List.of("agent", "expert"), new double[][] {{1, -2}, {2, -1}}));
        long bars = 0;
        double bottomOfPositive = Double.NaN;
        double topOfNegative = Double.NaN;
        for (int i = 0; i < svg.getElementsByTagName("rect").getLength(); i++) {
            var rect = svg.getElementsByTagName("rect").item(i);
            if (rect.getChildNodes().getLength() == 0) {
                continue;
            }
            bars++;
            double y = Double.parseDouble(rect.getAttributes().getNamedItem("y").getNodeValue());
            double h = Double.parseDouble(
                    rect.getAttributes().getNamedItem("height").getNodeValue());
            if (rect.getTextContent().startsWith("a: agent")) {
                bottomOfPositive = y + h;
            } else if (rect.getTextContent().startsWith("b: agent")) {
                topOfNegative = y;
            }
        }
        assertEquals(4, bars);
        assertEquals(bottomOfPositive, topOfNegative, 0.2);
    }

    @Test
    void logarithmicAxesRefuseZero() throws Exception {
        Chart log = new Chart(
                "t", "x", "y", true, List.of(Chart.Series.line("a", new double[] {1, 2, 3}, new double[] {0.1, 1, 10
                })));
        String[] points = xml(SvgPlot.of(log))
                .getElementsByTagName("polyline")
                .item(0)
                .getAttributes()
                .getNamedItem("points")
                .getNodeValue()
                .trim()
                .split(" ");
        double a = Double.parseDouble(points[0].split(",")[1]);
        double b = Double.parseDouble(points[1].split(",")[1]);
        double c = Double.parseDouble(points[2].split(",")[1]);
        assertEquals(a - b, b - c, 0.2, "decades are equally high");
        assertThrows(
                IllegalArgumentException.class,
                () -> new Chart(
                        "t", "x", "y", true, List.of(Chart.Series.line("a", new double[] {1}, new double[] {0}))));
    }

    @Test
    void logarithmicHorizontalAxesSpaceDecadesEqually() throws Exception {
        double[] x = {1, 10, 100};
        List<Chart.Series> series = List.of(Chart.Series.line("a", x, new double[] {1, 2, 3}));
        String[] points = xml(SvgPlot.of(new Chart("t", "x", "y", true, false, series)))
                .getElementsByTagName("polyline")
                .item(0)
                .getAttributes()
                .getNamedItem("points")
                .getNodeValue()
                .trim()
                .split(" ");
        double a = Double.parseDouble(points[0].split(",")[0]);
        double b = Double.parseDouble(points[1].split(",")[0]);
        double c = Double.parseDouble(points[2].split(",")[0]);
        assertEquals(b - a, c - b, 0.2);
        assertThrows(
                IllegalArgumentException.class,
                () -> new Chart(
                        "t", "x", "y", true, false, List.of(Chart.Series.line("a", new double[] {0}, new double[] {1
                        }))));
    }

    @Test
    void aLongLegendTakesMoreRowsAndThePlotMakesRoom() throws Exception {
        List<Chart.Series> series = new ArrayList<>();
        for (int i = 0; i < 6; i++) {
            series.add(Chart.Series.line("a series with a long name " + i, new double[] {0, 1}, new double[] {0, i}));
        }
        Document svg = xml(SvgPlot.of(new Chart("t", "x", "y", false, series)));
        double lowestLegend = 0;
        for (int i = 0; i < svg.getElementsByTagName("rect").getLength(); i++) {
            var at = svg.getElementsByTagName("rect").item(i).getAttributes();
            assertTrue(Double.parseDouble(at.getNamedItem("x").getNodeValue()) < 720, "within the picture");
            lowestLegend = Math.max(
                    lowestLegend, Double.parseDouble(at.getNamedItem("y").getNodeValue()));
        }
        assertTrue(lowestLegend > 22, "more than one row");
        String top = svg.getElementsByTagName("polyline")
                .item(5)
                .getAttributes()
                .getNamedItem("points")
                .getNodeValue()
                .trim()
                .split(" ")[1];
        assertTrue(Double.parseDouble(top.split(",")[1]) > lowestLegend, "no line runs through the legend");
    }

    @Test
    void seriesThatCannotBeDrawnAreRefused() {
        assertThrows(
                IllegalArgumentException.class, () -> Chart.Series.line("a", new double[] {1}, new double[] {1, 2}));
        assertThrows(IllegalArgumentException.class, () -> Chart.Series.line("a", new double[0], new double[0]));
        assertThrows(
                IllegalArgumentException.class,
                () -> Chart.Series.line("a", new double[] {1}, new double[] {Double.NaN}));
        assertThrows(IllegalArgumentException.class, () -> new Chart("t", "x", "y", false, List.of()));
    }

    @Test
    void smoothingKeepsTheMean() {
        Chart.Series s = Chart.Series.line("a", new double[] {0, 1, 2, 3}, new double[] {1, 3, 5, 7})
                .smoothed("b", 2);
        assertArrayEquals(new double[] {0.5, 2.5}, s.x());
        assertArrayEquals(new double[] {2, 6}, s.y());
    }

    @Test
    void anHtmlReportStandsAlone() throws IOException {
        Path file = temp.resolve("report.html");
        new HtmlReport("demo & more")
                .heading("Scores")
                .paragraph("<script>")
                .table(List.of("task", "score"), List.of(List.of("a", "1"), List.of("b", "2")))
                .figure(SvgPlot.of(chart()))
                .code("lram serve --model 'x'")
                .note("measured")
                .write(file);
        String html = Files.readString(file);
        assertTrue(html.contains("<title>demo &amp; more</title>"), html);
        assertTrue(html.contains("<td>b</td><td>2</td>"), html);
        assertTrue(html.contains("@media (prefers-color-scheme:dark)"), html);
        assertFalse(html.contains("<script"), "text is not markup");
        String withoutNamespace = html.replace("http://www.w3.org/2000/svg", "");
        assertFalse(
                withoutNamespace.contains("http:")
                        || withoutNamespace.contains("https:")
                        || withoutNamespace.contains("src="),
                "nothing is fetched");
        assertThrows(IllegalArgumentException.class, () -> new HtmlReport("x")
                .table(List.of("a"), List.of(List.of("1", "2"))));
    }

    @Test
    void jsonKeepsTheOrderAndKnowsNoNaN() throws IOException {
        Path file = temp.resolve("report.json");
        ObjectNode n = JsonReport.object();
        JsonReport.put(n, "z", 1.5);
        JsonReport.put(n, "a", Double.NaN);
        JsonReport.write(file, n);
        JsonNode read = new ObjectMapper().readTree(file.toFile());
        assertEquals("{\"z\":1.5,\"a\":null}", JsonReport.line(read));
    }

    @Test
    void aPlaceThatCannotBeWrittenIsNamed() throws IOException {
        Path file = temp.resolve("file");
        Files.writeString(file, "text");
        ReportException e = assertThrows(
                ReportException.class, () -> JsonReport.write(file.resolve("x.json"), JsonReport.object()));
        assertTrue(e.getMessage().contains("x.json") && e.getMessage().contains("; fix: "), e.getMessage());
        assertEquals("text", Files.readString(file));
    }

    private static Document xml(String text) throws Exception {
        return DocumentBuilderFactory.newInstance()
                .newDocumentBuilder()
                .parse(new ByteArrayInputStream(text.getBytes(StandardCharsets.UTF_8)));
    }
}
