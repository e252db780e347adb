"""The healthy servers in turn."""


def start(balancer):
    balancer.turn = -1


def choose(balancer, request):
    for _ in balancer.servers:
        balancer.turn = (balancer.turn + 1) % len(balancer.servers)
        if balancer.servers[balancer.turn].healthy:
            break
    return balancer.turn
