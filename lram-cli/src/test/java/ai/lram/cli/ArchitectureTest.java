package ai.lram.cli;

import static com.tngtech.archunit.base.DescribedPredicate.describe;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.tngtech.archunit.core.domain.JavaClass;
import com.tngtech.archunit.core.domain.JavaClasses;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import com.tngtech.archunit.core.importer.ImportOption;
import com.tngtech.archunit.lang.ArchRule;
import java.lang.foreign.MemorySegment;
import java.net.URI;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;

/** Which module may know which, and which library belongs to whom; docs/adr/0003 gives the reasons. */
class ArchitectureTest {
    private static final String ROOT = "ai.lram.";

    /** A module's package, and the packages of the modules it may use. */
    private static final Map<String, Set<String>> ARROWS = Map.of(
            "backend", Set.of(),
            "dataset", Set.of(),
            "agent", Set.of("backend", "dataset"),
            "runtime", Set.of("backend", "dataset", "agent"),
            "bridge", Set.of("backend", "dataset", "agent", "runtime"),
            "bench", Set.of("backend", "dataset", "agent", "runtime", "bridge"),
            "cli", Set.of("backend", "dataset", "agent", "runtime", "bridge", "bench"));

    private static final ArchRule NATIVE_LIBRARIES_STAY_IN_THE_ENGINES = noClasses()
            .that()
            .resideOutsideOfPackages("ai.lram.backend.cpu..", "ai.lram.backend.cuda..")
            .should()
            .dependOnClassesThat()
            .resideInAnyPackage("org.bytedeco..", "org.nd4j..")
            .because("pointers and arrays of these libraries are bound to threads and leak past their owner");

    private static final ArchRule NO_HEAP_SEGMENTS_NEAR_A_KERNEL = noClasses()
            .that()
            .resideInAPackage("ai.lram.backend.cpu..")
            .should()
            .callMethodWhere(describe(
                    "target is MemorySegment.ofArray",
                    call -> call.getTargetOwner().isEquivalentTo(MemorySegment.class)
                            && call.getTarget().getName().equals("ofArray")))
            .because(
                    "one heap segment in a kernel's profile makes it 4 to 100 times slower for the rest of the process");

    private static final ArchRule NO_PROTOBUF_IN_THE_RUNTIME = noClasses()
            .that()
            .resideInAPackage("ai.lram.runtime..")
            .should()
            .dependOnClassesThat()
            .resideInAnyPackage("com.google.protobuf..", "io.grpc..")
            .because("the wire format belongs to the bridge");

    private static final ArchRule NO_ACTORS_BELOW_THE_RUNTIME = noClasses()
            .that()
            .resideInAnyPackage("ai.lram.backend..", "ai.lram.dataset..", "ai.lram.agent..")
            .should()
            .dependOnClassesThat()
            .resideInAnyPackage("akka..")
            .because("models and data are used without an actor system, too");

    private static final ArchRule NO_ND4J_NEAR_DATA = noClasses()
            .that()
            .resideInAPackage("ai.lram.dataset..")
            .should()
            .dependOnClassesThat()
            .resideInAnyPackage("org.nd4j..", "jdk.incubator.vector..")
            .because("data sets are read on machines that train nothing");

    private static final ArchRule LOGGING_IS_SLF4J = noClasses()
            .that()
            .resideOutsideOfPackage("ai.lram.cli..")
            .should()
            .dependOnClassesThat()
            .resideInAnyPackage("java.util.logging..", "org.apache.commons.logging..", "ch.qos.logback..")
            .because("one logging interface, whose back end only the program chooses");

    private static final ArchRule ONLY_THE_PROGRAM_PRINTS = noClasses()
            .that()
            .resideOutsideOfPackage("ai.lram.cli..")
            .should()
            .accessField(System.class, "out")
            .orShould()
            .accessField(System.class, "err")
            .because("a library logs or returns; standard output belongs to the command");

    private static final List<ArchRule> RULES = List.of(
            NATIVE_LIBRARIES_STAY_IN_THE_ENGINES,
            NO_HEAP_SEGMENTS_NEAR_A_KERNEL,
            NO_PROTOBUF_IN_THE_RUNTIME,
            NO_ACTORS_BELOW_THE_RUNTIME,
            NO_ND4J_NEAR_DATA,
            LOGGING_IS_SLF4J,
            ONLY_THE_PROGRAM_PRINTS);

    private static JavaClasses project;

    @BeforeAll
    static void readTheClassFiles() {
        URI tests = URI.create(ArchitectureTest.class
                .getProtectionDomain()
                .getCodeSource()
                .getLocation()
                .toString());
        project = new ClassFileImporter()
                .withImportOption(ImportOption.Predefined.DO_NOT_INCLUDE_TESTS)
                .withImportOption(location -> !location.contains(tests.getPath()))
                .importPackages("ai.lram");
    }

    @Test
    void everyModuleIsLookedAt() {
        for (String module : ARROWS.keySet()) {
            assertTrue(
                    project.stream().anyMatch(c -> c.getPackageName().startsWith(ROOT + module)),
                    "no class of " + ROOT + module + " is on the class path");
        }
        for (JavaClass c : project) {
            assertTrue(ARROWS.containsKey(moduleOf(c)), c.getName() + " belongs to no module");
        }
    }

    @TestFactory
    List<DynamicTest> modulesPointOneWay() {
        return ARROWS.keySet().stream()
                .sorted()
                .map(m -> DynamicTest.dynamicTest(m + " knows only " + ARROWS.get(m), () -> arrow(m).check(project)))
                .toList();
    }

    @TestFactory
    List<DynamicTest> librariesStayWhereTheyBelong() {
        return RULES.stream()
                .map(r -> DynamicTest.dynamicTest(r.getDescription(), () -> r.check(project)))
                .toList();
    }

    @Test
    void theRulesSeeAViolation() {
        JavaClasses offenders =
                new ClassFileImporter().importPackages("ai.lram.backend.cpu.offender", "ai.lram.dataset.offender");
        assertTrue(arrow("backend").evaluate(offenders).hasViolation(), "backend must not know cli");
        assertTrue(NO_HEAP_SEGMENTS_NEAR_A_KERNEL.evaluate(offenders).hasViolation());
        assertTrue(ONLY_THE_PROGRAM_PRINTS.evaluate(offenders).hasViolation());
        assertTrue(NO_ACTORS_BELOW_THE_RUNTIME.evaluate(offenders).hasViolation());
        assertTrue(NATIVE_LIBRARIES_STAY_IN_THE_ENGINES.evaluate(offenders).hasViolation());
        assertTrue(LOGGING_IS_SLF4J.evaluate(offenders).hasViolation());
    }

    private static ArchRule arrow(String module) {
        Set<String> allowed = ARROWS.get(module);
        return noClasses()
                .that(describe("are in " + module, (JavaClass c) -> moduleOf(c).equals(module)))
                .should()
                .dependOnClassesThat(describe("are in a module " + module + " must not know", (JavaClass c) -> {
                    String other = moduleOf(c);
                    return !other.isEmpty() && !other.equals(module) && !allowed.contains(other);
                }));
    }

    /** {@code backend} for {@code ai.lram.backend.cpu.X}, empty for a class that is not ours. */
    private static String moduleOf(JavaClass c) {
        String name = c.getPackageName();
        if (!name.startsWith(ROOT)) {
            return "";
        }
        int end = name.indexOf('.', ROOT.length());
        return name.substring(ROOT.length(), end < 0 ? name.length() : end);
    }
}
