package ai.lram.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * Runs the launcher script in a copy of its surroundings: a project folder with blanks in its path, JDK folders whose
 * {@code java} prints what it is given, a {@code mvnw} that leaves what a build leaves, and a PATH of nothing but the
 * tools the script may use.
 */
class LauncherTest {
    private static final Path REPOSITORY = Path.of("..").toAbsolutePath().normalize();
    private static final List<String> TOOLS = List.of(
            "bash",
            "env",
            "find",
            "sed",
            "grep",
            "mkdir",
            "rm",
            "mv",
            "cp",
            "cat",
            "date",
            "touch",
            "sleep",
            "readlink",
            "ps",
            "tr");
    private static final String JAVA_ECHO =
            """
            [ "$1" != -version ] || { echo "openjdk version \\"@VERSION@\\" 2025-09-16" >&2; exit 0; }
            echo "home=@HOME@"
            echo "pid=$$"
            for argument; do echo "arg=$argument"; done
            exit ${FAKE_STATUS:-0}
            """;

    @TempDir
    Path temp;

    private Path project;
    private Path bin;
    private Path home;
    private Path usual;
    private final Map<String, String> environment = new HashMap<>();

    @BeforeEach
    void layOutAMachine() throws IOException {
        assumeTrue(
                !System.getProperty("os.name").startsWith("Windows"),
                "the launcher is a shell script; use WSL on Windows");
        project = Files.createDirectories(temp.resolve("a folder/with blanks"));
        bin = Files.createDirectories(temp.resolve("bin"));
        home = Files.createDirectories(temp.resolve("home"));
        usual = Files.createDirectories(temp.resolve("usual"));
        for (String tool : TOOLS) {
            Path real = realTool(tool);
            if (real != null) {
                script(bin.resolve(tool), "exec " + real + " \"$@\"\n");
            }
        }
        script(bin.resolve("uname"), "case ${1-} in -m) echo x86_64 ;; *) echo Linux ;; esac\n");
        script(bin.resolve("id"), "echo 1000\n");
        Files.copy(REPOSITORY.resolve("lram"), project.resolve("lram"));
        makeExecutable(project.resolve("lram"));
        Files.createDirectories(project.resolve(".mvn"));
        Files.writeString(project.resolve("pom.xml"), "<project/>");
        Files.createDirectories(project.resolve("lram-cli/src/main/java"));
        Files.createDirectories(project.resolve("lram-cli/src/test/java"));
        Files.writeString(project.resolve("lram-cli/pom.xml"), "<project/>");
        Files.writeString(project.resolve("lram-cli/src/main/java/A.java"), "class A {}");
        Files.writeString(temp.resolve("library.jar"), "a library");
        mavenThatBuilds();
        environment.put("PATH", bin.toString());
        environment.put("HOME", home.toString());
        environment.put("LRAM_JDK_DIRS", usual.toString());
    }

    // ------------------------------------------------------------------------------------------------ finding a JDK

    @Test
    void lramJavaHomeWinsOverEveryOther() throws Exception {
        environment.put("LRAM_JAVA_HOME", jdk("own", "26.0.1").toString());
        environment.put("JAVA_HOME", jdk("named", "25.0.3").toString());
        jdkOnPath(jdk("path", "25.0.3"));
        assertEquals(temp.resolve("own"), chosen());
    }

    @Test
    void javaHomeWinsOverPath() throws Exception {
        environment.put("JAVA_HOME", jdk("named", "26").toString());
        jdkOnPath(jdk("path", "25.0.3"));
        assertEquals(temp.resolve("named"), chosen());
    }

    @Test
    void pathWinsOverTheUsualFoldersAndIsFollowedThroughLinks() throws Exception {
        jdkOnPath(jdk("path", "27"));
        jdk("usual/jdk-25", "25.0.3");
        assertEquals(temp.resolve("path"), chosen());
    }

    @Test
    void olderDefaultsArePassedOver() throws Exception {
        environment.put("JAVA_HOME", jdk("old", "17.0.15").toString());
        jdkOnPath(jdk("older", "1.8.0_402"));
        jdk("usual/jdk-21", "21.0.2");
        jdk("usual/jdk-25", "25.0.3");
        assertEquals(temp.resolve("usual/jdk-25"), chosen());
    }

    @Test
    void theLowestSufficientVersionOfTheUsualFoldersWins() throws Exception {
        jdk("usual/a", "27-ea");
        jdk("usual/b", "25.0.3");
        jdk("usual/c", "26.0.1");
        assertEquals(temp.resolve("usual/b"), chosen());
    }

    @Test
    void sdkmanAndMacFoldersAreSearched() throws Exception {
        Path mac = jdk("usual/temurin-25.jdk/Contents/Home", "25");
        assertEquals(mac, chosen());
        deleteTree(usual.resolve("temurin-25.jdk"));
        Path sdkman = jdk("home/.sdkman/candidates/java/25.0.3-tem", "25.0.3");
        assertEquals(sdkman, chosen());
    }

    @Test
    void aRuntimeWithoutCompilerIsNoJdk() throws Exception {
        Files.delete(jdk("usual/jre", "25.0.3").resolve("bin/javac"));
        jdk("usual/jdk", "26");
        assertEquals(temp.resolve("usual/jdk"), chosen());
    }

    @Test
    void theVersionIsAskedWhereTheReleaseFileIsMissing() throws Exception {
        Files.delete(jdk("usual/a", "24.0.1").resolve("release"));
        Files.delete(jdk("usual/b", "25.0.3").resolve("release"));
        assertEquals(temp.resolve("usual/b"), chosen());
    }

    @Test
    void anUnfitLramJavaHomeIsRefusedByName() throws Exception {
        jdk("usual/jdk-25", "25.0.3");
        environment.put("LRAM_JAVA_HOME", jdk("old", "17.0.15").toString());
        Result old = lram("doctor");
        assertEquals(2, old.status);
        assertTrue(old.err.contains(temp.resolve("old") + ", which is a JDK of version 17"), old.err);
        environment.put("LRAM_JAVA_HOME", temp.resolve("nowhere").toString());
        Result none = lram("doctor");
        assertEquals(2, none.status);
        assertTrue(none.err.contains("which is no JDK"), none.err);
    }

    @Test
    void withoutAnyJdkItSaysWhatMavenSaysAndTheCommandOfThisSystem() throws Exception {
        environment.put("JAVA_HOME", jdk("old", "17.0.15").toString());
        Result result = lram("doctor");
        assertEquals(2, result.status);
        assertEquals("", result.out);
        assertEquals(enforcerMessage(), result.err.lines().findFirst().orElse(""));
        assertTrue(result.err.contains("too old: " + temp.resolve("old") + " (version 17)"), result.err);
        assertTrue(result.err.contains("On this system: mkdir -p ~/.jdks && curl "), result.err);
        assertFalse(Files.exists(project.resolve("target")), "nothing is written");
    }

    @Test
    void theCommandNamedFitsTheSystem() throws Exception {
        script(bin.resolve("dnf"), "exit 1\n");
        assertTrue(lram("doctor").err.contains("On this system: sudo dnf install -y java-25-openjdk-devel"));
        aptWith("Candidate: 25.0.1+8-1");
        assertTrue(lram("doctor").err.contains("On this system: sudo apt-get install -y openjdk-25-jdk-headless"));
        script(bin.resolve("uname"), "case ${1-} in -m) echo arm64 ;; *) echo Darwin ;; esac\n");
        script(bin.resolve("brew"), "exit 1\n");
        assertTrue(lram("doctor").err.contains("On this system: brew install openjdk@25"));
    }

    @Test
    void rootOnDebianInstallsThePackageAndSaysSo() throws Exception {
        script(bin.resolve("id"), "echo 0\n");
        aptWith("Candidate: 25.0.1+8-1");
        Path ready = jdk("ready", "25.0.1");
        script(
                bin.resolve("apt-get"),
                "case $1 in install) echo \"$@\" >>'" + temp + "/apt.log'; mv '" + ready + "' '" + usual
                        + "/' ;; esac\n");
        Result result = lram("doctor");
        assertEquals(0, result.status, result.err);
        assertTrue(result.err.contains("installing openjdk-25-jdk-headless"), result.err);
        assertTrue(Files.readString(temp.resolve("apt.log")).contains("openjdk-25-jdk-headless"));
        assertTrue(result.out.contains("arg=doctor"), result.out);
    }

    @Test
    void rootOnADebianWithoutThePackageGetsTheSentence() throws Exception {
        script(bin.resolve("id"), "echo 0\n");
        aptWith("Candidate: (none)");
        Result result = lram("doctor");
        assertEquals(2, result.status);
        assertTrue(result.err.contains(enforcerMessage()), result.err);
        assertTrue(result.err.contains("On this system: mkdir -p ~/.jdks"), result.err);
    }

    // ----------------------------------------------------------------------------------------------------- building

    @Test
    void buildsOnFirstUseAndThenOnlyAfterAChange() throws Exception {
        jdk("usual/jdk-25", "25.0.3");
        Result first = lram("doctor");
        assertEquals(0, first.status, first.err);
        assertTrue(first.err.contains("lram:   [2/8] gpu-backend"), first.err);
        assertEquals(1, builds());
        assertEquals("", lram("doctor").err);
        assertEquals(1, builds());

        Files.writeString(project.resolve("lram-cli/src/test/java/ATest.java"), "class ATest {}");
        lram("doctor");
        assertEquals(1, builds(), "tests are no part of the program");

        Files.writeString(project.resolve("lram-cli/src/main/java/A.java"), "class A { int x; }");
        lram("doctor");
        assertEquals(2, builds(), "a changed source");

        Files.writeString(project.resolve("lram-cli/pom.xml"), "<project><!-- --></project>");
        lram("doctor");
        assertEquals(3, builds(), "a changed pom");

        Files.delete(project.resolve("lram-cli/src/main/java/A.java"));
        lram("doctor");
        assertEquals(4, builds(), "a deleted source");

        Files.delete(temp.resolve("library.jar"));
        assertEquals(1, lram("doctor").status, "a library that even a build does not bring back");
        Files.writeString(temp.resolve("library.jar"), "a library");
        assertEquals(0, lram("doctor").status);
    }

    @Test
    void aSourceThatChangesDuringTheBuildIsBuiltAgain() throws Exception {
        jdk("usual/jdk-25", "25.0.3");
        // File times advance by some milliseconds: a change within the same tick as the build's start cannot be told
        // from one before it.
        Files.writeString(temp.resolve("during-build"), "sleep 0.05\ntouch lram-cli/src/main/java/A.java\n");
        lram("doctor");
        Files.delete(temp.resolve("during-build"));
        lram("doctor");
        lram("doctor");
        assertEquals(2, builds());
    }

    @Test
    void aFailedBuildPublishesNothingAndIsTriedAgain() throws Exception {
        jdk("usual/jdk-25", "25.0.3");
        Files.writeString(temp.resolve("during-build"), "echo '[ERROR] A.java:[1,1] nonsense'; exit 1\n");
        Result failed = lram("doctor");
        assertEquals(1, failed.status);
        assertEquals("", failed.out);
        assertTrue(failed.err.contains("A.java:[1,1] nonsense"), failed.err);
        assertTrue(failed.err.contains("the build failed"), failed.err);
        assertFalse(Files.exists(project.resolve("target/lram/stamp")));
        assertFalse(Files.exists(project.resolve("target/lram/lock")));
        Files.delete(temp.resolve("during-build"));
        assertEquals(0, lram("doctor").status);
    }

    @Test
    void concurrentFirstUseBuildsOnce() throws Exception {
        jdk("usual/jdk-25", "25.0.3");
        Files.writeString(temp.resolve("during-build"), "sleep 0.5\n");
        List<Process> all = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
            all.add(start(project.resolve("lram"), temp, "doctor"));
        }
        for (Process p : all) {
            Result result = finish(p);
            assertEquals(0, result.status, result.err);
            assertTrue(result.out.contains("arg=doctor"), result.out);
        }
        assertEquals(1, builds());
    }

    @Test
    void theLockOfADeadProcessIsTakenOver() throws Exception {
        jdk("usual/jdk-25", "25.0.3");
        Process gone = new ProcessBuilder("true").start();
        gone.waitFor();
        Files.createDirectories(project.resolve("target/lram/lock"));
        Files.writeString(project.resolve("target/lram/lock/pid"), gone.pid() + "\n");
        assertEquals(0, lram("doctor").status);
        assertEquals(1, builds());
    }

    @Test
    void aRunningProgramKeepsItsJarsWhenTheNextBuildWritesNewOnes() throws Exception {
        jdk("usual/jdk-25", "25.0.3");
        String before = argument(lram("doctor"), "@");
        Files.setLastModifiedTime(project.resolve("pom.xml"), FileTime.from(Instant.now()));
        String after = argument(lram("doctor"), "@");
        assertFalse(before.equals(after), "each build has a folder of its own, was " + before);
        String classPath = Files.readString(Path.of(after.substring(1)));
        assertTrue(classPath.contains("with blanks/target/lram/app."), classPath);
        assertFalse(classPath.contains("lram-cli/target"), classPath);
    }

    @Test
    void aDryRunPrintsTheCommandAndBuildsNothing() throws Exception {
        Path jdk = jdk("usual/jdk-25", "25.0.3");
        environment.put("LRAM_DRY_RUN", "1");
        Result result = lram("train", "a store");
        assertEquals(0, result.status, result.err);
        assertEquals(
                jdk.resolve("bin/java").toString(),
                result.out.lines().findFirst().orElse(""));
        assertTrue(result.out.endsWith("ai.lram.cli.Lram\ntrain\na store\n"), result.out);
        assertEquals(0, builds());
        assertFalse(Files.exists(project.resolve("target")));
    }

    // ------------------------------------------------------------------------------------------------------ running

    @Test
    void argumentsArriveUnchangedFromAnyFolderAndThroughALink() throws Exception {
        jdk("usual/jdk-25", "25.0.3");
        Files.createDirectories(temp.resolve("else where"));
        Path link = temp.resolve("else where/robot");
        Files.createSymbolicLink(link, Path.of("../a folder/with blanks/lram"));
        Result result = finish(start(link, temp.resolve("else where"), "train", "a  b", "*", "", "@file", "ü"));
        assertEquals(0, result.status, result.err);
        List<String> arguments = arguments(result);
        int main = arguments.indexOf("ai.lram.cli.Lram");
        assertEquals(List.of("train", "a  b", "*", "", "@file", "ü"), arguments.subList(main + 1, arguments.size()));
    }

    @Test
    void theExitCodeOfTheProgramIsPassedOn() throws Exception {
        jdk("usual/jdk-25", "25.0.3");
        for (int status : new int[] {0, 1, 2, 130}) {
            environment.put("FAKE_STATUS", Integer.toString(status));
            assertEquals(status, lram("doctor").status);
        }
    }

    @Test
    void theProgramTakesTheLaunchersPlaceSoThatSignalsReachIt() throws Exception {
        jdk("usual/jdk-25", "25.0.3");
        lram("doctor");
        Process process = start(project.resolve("lram"), temp, "serve");
        long pid = process.pid();
        assertTrue(finish(process).out.contains("pid=" + pid + "\n"));
    }

    @Test
    void flagsFitTheCommand() throws Exception {
        jdk("usual/jdk-25", "25.0.3");
        environment.put("LRAM_JAVA_OPTS", "-Xmx1g -Xms1g");
        List<String> train = arguments(lram("train"));
        assertTrue(
                train.containsAll(List.of(
                        "--add-modules=jdk.incubator.vector",
                        "--enable-native-access=ALL-UNNAMED",
                        "--sun-misc-unsafe-memory-access=allow",
                        "-Xmx1g",
                        "-Xms1g")),
                train.toString());
        assertFalse(train.contains("-XX:+UseZGC"), train.toString());
        assertFalse(train.contains("-XX:+UseSerialGC"), train.toString());
        script(bin.resolve("nproc"), "exit 127\n");
        for (int processors : new int[] {2, 8}) {
            script(bin.resolve("getconf"), "echo " + processors + "\n");
            for (String realTime : List.of("serve", "drive", "bench")) {
                List<String> flags = arguments(lram(realTime));
                assertEquals(processors > 2, flags.contains("-XX:+UseZGC"), realTime + ": " + flags);
                assertEquals(processors <= 2, flags.contains("-XX:+UseSerialGC"), realTime + ": " + flags);
            }
        }
        script(bin.resolve("nproc"), "echo 2\n");
        assertTrue(
                arguments(lram("serve")).contains("-XX:+UseSerialGC"),
                "two of eight processors are left to this process");
        assertTrue(arguments(lram("demo")).contains("-XX:+UseSerialGC"));
        for (String[] help : new String[][] {{}, {"--help"}, {"help", "serve"}, {"serve", "-h"}, {"--version"}}) {
            List<String> flags = arguments(lram(help));
            assertFalse(flags.contains("--add-modules=jdk.incubator.vector"), flags.toString());
        }
    }

    @Test
    void theFlagsAreThoseTheTestsRunWith() throws Exception {
        jdk("usual/jdk-25", "25.0.3");
        Matcher flags = Pattern.compile("<lram.jvm.flags>(.*?)</lram.jvm.flags>")
                .matcher(Files.readString(REPOSITORY.resolve("pom.xml")));
        assertTrue(flags.find(), "the parent pom names the flags");
        assertTrue(arguments(lram("train")).containsAll(List.of(flags.group(1).split(" "))));
    }

    @Test
    void testRunsMavenVerifyWithTheJdkFound() throws Exception {
        Path jdk = jdk("usual/jdk-25", "25.0.3");
        script(project.resolve("mvnw"), "echo \"$JAVA_HOME|$PWD|$*\"; exit 7\n");
        Result result = lram("test", "-pl", "actors");
        assertEquals(7, result.status, result.err);
        assertEquals(jdk + "|" + project + "|-B -ntp verify -pl actors\n", result.out);
    }

    // ------------------------------------------------------------------------------------------------------- helpers

    private record Result(int status, String out, String err) {}

    private Result lram(String... arguments) throws Exception {
        return finish(start(project.resolve("lram"), temp, arguments));
    }

    private Process start(Path script, Path folder, String... arguments) throws IOException {
        List<String> command = new ArrayList<>(List.of(script.toString()));
        command.addAll(List.of(arguments));
        ProcessBuilder builder = new ProcessBuilder(command).directory(folder.toFile());
        builder.environment().clear();
        builder.environment().putAll(environment);
        builder.environment().put("LC_ALL", "C.UTF-8");
        return builder.start();
    }

    private static Result finish(Process process) throws Exception {
        String out = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        String err = new String(process.getErrorStream().readAllBytes(), StandardCharsets.UTF_8);
        assertTrue(process.waitFor(60, TimeUnit.SECONDS), "the launcher ends");
        return new Result(process.exitValue(), out, err);
    }

    /** The folder of the JDK whose {@code java} the launcher would start. */
    private Path chosen() throws Exception {
        environment.put("LRAM_DRY_RUN", "1");
        Result result = lram("doctor");
        assertEquals(0, result.status, result.err);
        Path java = Path.of(result.out.lines().findFirst().orElseThrow());
        return java.getParent().getParent();
    }

    private static List<String> arguments(Result result) {
        assertEquals(0, result.status, result.err);
        return result.out
                .lines()
                .filter(l -> l.startsWith("arg="))
                .map(l -> l.substring(4))
                .toList();
    }

    private static String argument(Result result, String prefix) {
        return arguments(result).stream()
                .filter(a -> a.startsWith(prefix))
                .findFirst()
                .orElseThrow();
    }

    private Path jdk(String folder, String version) throws IOException {
        Path jdk = temp.resolve(folder);
        Files.createDirectories(jdk.resolve("bin"));
        script(jdk.resolve("bin/java"), JAVA_ECHO.replace("@VERSION@", version).replace("@HOME@", jdk.toString()));
        script(jdk.resolve("bin/javac"), "exit 0\n");
        Files.writeString(
                jdk.resolve("release"), "IMPLEMENTOR=\"Test\"\nJAVA_VERSION=\"" + version + "\"\nOS_NAME=\"Linux\"\n");
        return jdk;
    }

    private void jdkOnPath(Path jdk) throws IOException {
        Path alternatives = Files.createDirectories(temp.resolve("alternatives"));
        Files.createSymbolicLink(alternatives.resolve("java"), jdk.resolve("bin/java"));
        Files.createSymbolicLink(bin.resolve("java"), alternatives.resolve("java"));
    }

    private void aptWith(String candidate) throws IOException {
        script(bin.resolve("apt-get"), "exit 0\n");
        script(bin.resolve("apt-cache"), "echo 'openjdk-25-jdk-headless:'; echo '  " + candidate + "'\n");
    }

    private void mavenThatBuilds() throws IOException {
        script(
                project.resolve("mvnw"),
                """
                echo "$*" >>'@TEMP@/maven.log'
                echo '[INFO] Building gpu-backend 0.1.0-SNAPSHOT                             [2/8]'
                [ ! -f '@TEMP@/during-build' ] || . '@TEMP@/during-build'
                [ -f '@TEMP@/library.jar' ] || { echo '[ERROR] no library'; exit 1; }
                mkdir -p lram-cli/target gpu-backend/target
                echo jar >lram-cli/target/lram-cli.jar
                echo jar >gpu-backend/target/gpu-backend.jar
                printf '%s' "$PWD/gpu-backend/target/gpu-backend.jar:@TEMP@/library.jar" >lram-cli/target/classpath.txt
                """
                        .replace("@TEMP@", temp.toString()));
    }

    private long builds() throws IOException {
        Path log = temp.resolve("maven.log");
        if (!Files.exists(log)) {
            return 0;
        }
        try (Stream<String> lines = Files.lines(log)) {
            return lines.count();
        }
    }

    private static String enforcerMessage() throws IOException {
        Matcher message = Pattern.compile("<requireJavaVersion>.*?<message>(.*?)</message>", Pattern.DOTALL)
                .matcher(Files.readString(REPOSITORY.resolve("pom.xml")));
        assertTrue(message.find(), "the parent pom checks the JDK");
        return message.group(1);
    }

    private static Path realTool(String name) {
        return Stream.of("/usr/bin", "/bin", "/usr/local/bin", "/opt/homebrew/bin")
                .map(dir -> Path.of(dir, name))
                .filter(Files::isExecutable)
                .findFirst()
                .orElse(null);
    }

    private static void script(Path path, String body) throws IOException {
        Files.writeString(path, "#!/bin/sh\n" + body);
        makeExecutable(path);
    }

    private static void makeExecutable(Path path) throws IOException {
        Files.setPosixFilePermissions(path, PosixFilePermissions.fromString("rwxr-xr-x"));
    }

    private static void deleteTree(Path folder) throws IOException {
        try (Stream<Path> all = Files.walk(folder)) {
            for (Path path : all.sorted((a, b) -> b.compareTo(a)).toList()) {
                Files.delete(path);
            }
        }
    }
}
