<?php
// `messenger:consume` of Symfony with a transport of Redis. With `send`, sends the jobs of standard input.
require __DIR__ . "/job.php";
foreach (["Messenger", "Console", "EventDispatcher", "Messenger/Bridge/Redis"] as $part) {
    require_once "/usr/share/php/Symfony/Component/$part/autoload.php";
}
use Symfony\Component\Console\Application;
use Symfony\Component\EventDispatcher\EventDispatcher;
use Symfony\Component\Messenger\Bridge\Redis\Transport\RedisTransportFactory;
use Symfony\Component\Messenger\Command\ConsumeMessagesCommand;
use Symfony\Component\Messenger\Envelope;
use Symfony\Component\Messenger\EventListener\StopWorkerOnSigtermSignalListener;
use Symfony\Component\Messenger\Handler\HandlersLocator;
use Symfony\Component\Messenger\MessageBus;
use Symfony\Component\Messenger\Middleware\HandleMessageMiddleware;
use Symfony\Component\Messenger\RoutableMessageBus;
use Symfony\Component\Messenger\Transport\Serialization\PhpSerializer;

class Job
{
    public function __construct(public int $number, public float $seconds)
    {
    }
}

function run(Job $job): void
{
    work($job->number, $job->seconds);
}

class Container implements Psr\Container\ContainerInterface
{
    public function __construct(private array $all)
    {
    }

    public function get(string $id)
    {
        return $this->all[$id];
    }

    public function has(string $id): bool
    {
        return isset($this->all[$id]);
    }
}

$factory = new RedisTransportFactory();
$options = ["consumer" => (string) getmypid(), "redeliver_timeout" => 12, "claim_interval" => 3000];
$transport = $factory->createTransport(getenv("BROKER") . "/jobs", $options, new PhpSerializer());
if (($argv[1] ?? "") == "send") {
    foreach (json_decode(stream_get_contents(STDIN)) as [$number, $seconds]) {
        $transport->send(new Envelope(new Job($number, $seconds)));
    }
    exit;
}
$bus = new MessageBus([new HandleMessageMiddleware(new HandlersLocator([Job::class => ["run"]]))]);
$dispatcher = new EventDispatcher();
$dispatcher->addSubscriber(new StopWorkerOnSigtermSignalListener());
$application = new Application();
$application->add(new ConsumeMessagesCommand(new RoutableMessageBus(new Container(["bus" => $bus]), $bus),
    new Container(["jobs" => $transport]), $dispatcher, null, ["jobs"]));
$application->run();
