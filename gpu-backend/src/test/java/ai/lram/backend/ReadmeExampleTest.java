package ai.lram.backend;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.tools.JavaCompiler;
import javax.tools.ToolProvider;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ReadmeExampleTest {
    @Test
    void theExampleCompilesAndRuns(@TempDir Path dir) throws Exception {
        Matcher m =
                Pattern.compile("```java\n(.*?)```", Pattern.DOTALL).matcher(Files.readString(Path.of("README.md")));
        assertTrue(m.find(), "the README has an example");
        Path source = dir.resolve("Example.java");
        Files.writeString(source, m.group(1));
        JavaCompiler javac = ToolProvider.getSystemJavaCompiler();
        Path classes = Path.of(Backend.class
                .getProtectionDomain()
                .getCodeSource()
                .getLocation()
                .toURI());
        ByteArrayOutputStream errors = new ByteArrayOutputStream();
        int status = javac.run(
                null, null, errors, "-proc:none", "-cp", classes.toString(), "-d", dir.toString(), source.toString());
        assertEquals(0, status, errors.toString(StandardCharsets.UTF_8));

        PrintStream before = System.out;
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        try (URLClassLoader loader =
                new URLClassLoader(new URL[] {dir.toUri().toURL()}, Backend.class.getClassLoader())) {
            System.setOut(new PrintStream(out, true, StandardCharsets.UTF_8));
            loader.loadClass("Example").getMethod("main", String[].class).invoke(null, (Object) new String[0]);
        } finally {
            System.setOut(before);
        }
        // x w^T = 4 * 0.5 * 1 = 2 and silu(2) = 1.7616; 12 + 8 + 6 floats live.
        assertTrue(out.toString(StandardCharsets.UTF_8).contains(": 1.76159"), out.toString(StandardCharsets.UTF_8));
        assertTrue(
                out.toString(StandardCharsets.UTF_8).contains("104 bytes live"), out.toString(StandardCharsets.UTF_8));
    }
}
